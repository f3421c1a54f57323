package serve

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

const (
	// question is what kubeadm asks first of all on a joining machine: bootstrap tokens and administrators may, nobody
	// else.
	question = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
	// A machine makes a handful of requests for a bundle; a token that was deleted opens the door for this long at
	// most.
	admittedFor = time.Minute
	// A token that was just made may reach the API server's cache a moment later than its machine.
	refusedFor = 5 * time.Second
	// questionTime bounds one question.
	questionTime = 5 * time.Second
	// maxQuestions at once; strangers must not be able to make the API server busy through us.
	maxQuestions = 16
	// maxVerdicts bounds memory: some 100 bytes each.
	maxVerdicts = 4096
)

// APIServer is a Door that asks the cluster's API server, with the caller's own token, for what every joining machine
// may read. It has no credentials of its own. It is safe for concurrent use.
type APIServer struct {
	url       string
	client    *http.Client
	questions chan struct{}
	now       func() time.Time

	mu       sync.Mutex
	verdicts map[[sha256.Size]byte]verdict
}

var _ Door = (*APIServer)(nil)

// verdict is what the API server said of a token, and until when that counts.
type verdict struct {
	admitted bool
	until    time.Time
}

// NewAPIServer asks the API server at address ("https://127.0.0.1:6443"), whose certificate one of the authorities
// (PEM) signed.
func NewAPIServer(address string, authorities []byte) (*APIServer, error) {
	at, err := url.Parse(address)
	if err != nil || at.Scheme != "https" || at.Host == "" {
		return nil, errclass.Errorf(errclass.Configuration,
			"reading the API server's address %q: it is not like https://127.0.0.1:6443", address)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, errclass.With(errclass.Configuration, errors.New("reading the API server's certificate "+
			"authority: it holds no PEM certificate"))
	}
	return &APIServer{
		url: at.JoinPath(question).String(),
		client: &http.Client{
			Timeout: questionTime,
			Transport: &http.Transport{
				TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
				ForceAttemptHTTP2: true, MaxIdleConnsPerHost: maxQuestions, IdleConnTimeout: time.Minute,
			},
			// A token goes to the API server and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		questions: make(chan struct{}, maxQuestions),
		now:       time.Now,
		verdicts:  map[[sha256.Size]byte]verdict{},
	}, nil
}

// Admit asks, unless it has asked a moment ago. What could not be found out is not remembered.
//
//	API server answers   meaning          remembered for
//	200                  admitted         60 s
//	401, 403             refused          5 s
//	anything else        not known        -
func (a *APIServer) Admit(ctx context.Context, token secret.Value) error {
	key := sha256.Sum256([]byte(token.Reveal()))
	if admitted, known := a.remembered(key); known {
		return decision(admitted)
	}
	admitted, err := a.ask(ctx, token)
	if err != nil {
		return err
	}
	a.remember(key, admitted)
	return decision(admitted)
}

func decision(admitted bool) error {
	if admitted {
		return nil
	}
	return ErrRefused
}

func (a *APIServer) ask(ctx context.Context, token secret.Value) (admitted bool, err error) {
	select {
	case a.questions <- struct{}{}:
		defer func() { <-a.questions }()
	case <-ctx.Done():
		return false, fmt.Errorf("waiting to ask the API server: %w", ctx.Err())
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return false, fmt.Errorf("asking the API server: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	response, err := a.client.Do(request)
	if err != nil {
		return false, errclass.Errorf(errclass.Transient, "asking the API server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	// Read to the end, so that the connection serves again.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	switch response.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return false, nil
	}
	// That includes 404: a server that knows no such thing has not looked at the token.
	return false, errclass.Errorf(errclass.Transient, "asking the API server: it answers %s", response.Status)
}

func (a *APIServer) remembered(key [sha256.Size]byte) (admitted, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, known := a.verdicts[key]
	if !known || a.now().After(v.until) {
		return false, false
	}
	return v.admitted, true
}

func (a *APIServer) remember(key [sha256.Size]byte, admitted bool) {
	duration := refusedFor
	if admitted {
		duration = admittedFor
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.verdicts) >= maxVerdicts {
		a.forget()
	}
	a.verdicts[key] = verdict{admitted: admitted, until: a.now().Add(duration)}
}

// forget drops what does not count any more; when that is not enough, everything: asking again is cheap.
func (a *APIServer) forget() {
	for key, v := range a.verdicts {
		if a.now().After(v.until) {
			delete(a.verdicts, key)
		}
	}
	if len(a.verdicts) >= maxVerdicts {
		clear(a.verdicts)
	}
}
