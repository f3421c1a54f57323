// Command web runs in the pods of tests. Busybox' own wget would do, but linked statically it can't look up names.
//
//	web serve            answer every request on :8080 with the host's name, and log it
//	web admit CERT KEY   be an admission webhook on :8443 that allows everything, and log what it was asked
//	web get URL          print the answer of URL within 5 s
//	web watch URL EVERY  ask URL every so often and print each failure, until told to end; then how often it asked
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const patience = 5 * time.Second

func main() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		err = serve()
	case len(os.Args) == 4 && os.Args[1] == "admit":
		err = http.ListenAndServeTLS(":8443", os.Args[2], os.Args[3], http.HandlerFunc(admit))
	case len(os.Args) == 3 && os.Args[1] == "get":
		var page string
		page, err = get(os.Args[2])
		fmt.Print(page)
	case len(os.Args) == 4 && os.Args[1] == "watch":
		err = watch(os.Args[2], os.Args[3])
	default:
		err = fmt.Errorf("usage: web serve | web admit CERT KEY | web get URL | web watch URL EVERY")
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	return http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Printf("%s %s from %s", r.Method, r.URL, r.RemoteAddr)
		fmt.Fprintln(w, name)
	}))
}

// review is an AdmissionReview of admission.k8s.io/v1, as far as it is used.
type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID      string            `json:"uid"`
	Resource map[string]string `json:"resource"`
	Name     string            `json:"name"`
	UserInfo struct {
		Username string `json:"username"`
	} `json:"userInfo"`
}

type response struct {
	UID     string `json:"uid"`
	Allowed bool   `json:"allowed"`
}

func admit(w http.ResponseWriter, r *http.Request) {
	var asked review
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked.Request == nil {
		http.Error(w, fmt.Sprint("reading the review: ", err), http.StatusBadRequest)
		return
	}
	log.Printf("%s %s of %s", asked.Request.Resource["resource"], asked.Request.Name, asked.Request.UserInfo.Username)
	asked.Response, asked.Request = &response{UID: asked.Request.UID, Allowed: true}, nil
	if err := json.NewEncoder(w).Encode(asked); err != nil {
		log.Print(err)
	}
}

func get(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	return string(page), err
}

func watch(url, every string) error {
	pause, err := time.ParseDuration(every)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	asked, failed := 0, 0
	for ctx.Err() == nil {
		asked++
		if _, err := get(url); err != nil {
			failed++
			fmt.Println("failed:", err)
		}
		time.Sleep(pause)
	}
	fmt.Printf("asked %d times, %d failed\n", asked, failed)
	return nil
}
