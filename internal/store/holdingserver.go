package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/errclass"
)

// HoldAtLeast is how long the holding server has to run for every client-go client to meet it: a reflector's pause
// between two attempts at a watch grows to 30 s and is then up to twice as long by jitter; the rest is for Services to
// lead here.
const HoldAtLeast = 65 * time.Second

// holdingHandler answers in the API server's place while the store is filled from a backup. It serves no object: a
// request with a resource version gets 410 Gone, every other one 503, so that a client which remembers the cluster from
// before lists the whole state again.
//
// A restored store counts its revisions from the beginning, unless they can be advanced, so its clients remember
// revisions that lie in its future. kube-apiserver answers a list at such a revision with an error, after which clients
// list without one. But it accepts a watch and then sends nothing until the store has come that far: the client misses
// every change and does not notice. client-go's reflectors resume their watch when all they got in between was
// "connection refused", which is the answer of a Service without pods, and list again after any other error. 410 Gone
// is the protocol's answer to a revision that no longer exists.
func holdingHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
			Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable,
			Message: "the cluster is being restored from a backup",
		}
		if revision := r.URL.Query().Get("resourceVersion"); r.Method == http.MethodGet && revision != "" &&
			revision != "0" {
			status.Code, status.Reason = http.StatusGone, metav1.StatusReasonExpired
			status.Message = fmt.Sprintf("resource version %q is gone: %s", revision, status.Message)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Code))
		_ = json.NewEncoder(w).Encode(status) // a client that went away needs no answer
	})
}

// holdingGrace bounds the answers that are under way at the end.
const holdingGrace = 2 * time.Second

// ServeHolding runs the holding server at address, with a certificate from files, until ctx ends.
func ServeHolding(ctx context.Context, address, certFile, keyFile string) error {
	server := &http.Server{Addr: address, Handler: holdingHandler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServeTLS(certFile, keyFile) }()
	select {
	case err := <-failed:
		return errclass.Errorf(errclass.Permanent, "answering the cluster's clients at %q: %w", address, err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdingGrace)
	defer cancel()
	if err := server.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("ending the answers to the cluster's clients: %w", err)
	}
	if err := server.Close(); err != nil {
		return fmt.Errorf("ending the answers to the cluster's clients: %w", err)
	}
	return nil
}
