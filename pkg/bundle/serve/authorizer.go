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
	// accessPath is the first object that kubeadm reads on a joining machine: only bootstrap tokens and administrators
	// may read it.
	accessPath = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
	// A machine makes a handful of requests for a bundle; a deleted token is accepted for this long at most.
	allowedFor = time.Minute
	// A token that was just made may reach the API server's cache a moment later than its machine.
	refusedFor = 5 * time.Second
	// requestTimeout bounds one accessPath.
	requestTimeout = 5 * time.Second
	// maxRequests at once; callers without a valid token must not keep the API server busy.
	maxRequests = 16
	// maxDecisions bounds memory: some 100 bytes each.
	maxDecisions = 4096
)

// APIServer is an Authorizer that reads an object from the cluster's API server, with the caller's own token, that
// every joining machine may read. It has no credentials of its own. It is safe for concurrent use.
type APIServer struct {
	url      string
	client   *http.Client
	requests chan struct{}
	now      func() time.Time

	mu        sync.Mutex
	decisions map[[sha256.Size]byte]decision
}

var _ Authorizer = (*APIServer)(nil)

// decision is the API server's decision about a token, and the time until which it is valid.
type decision struct {
	allowed bool
	until   time.Time
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
		url: at.JoinPath(accessPath).String(),
		client: &http.Client{
			Timeout: requestTimeout,
			Transport: &http.Transport{
				TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool},
				ForceAttemptHTTP2: true, MaxIdleConnsPerHost: maxRequests, IdleConnTimeout: time.Minute,
			},
			// A token goes to the API server and nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		requests:  make(chan struct{}, maxRequests),
		now:       time.Now,
		decisions: map[[sha256.Size]byte]decision{},
	}, nil
}

// Authorize asks the API server, unless a decision is remembered. Without an answer nothing is remembered.
//
//	API server answers   meaning          remembered for
//	200                  allowed         60 s
//	401, 403             refused          5 s
//	anything else        not known        -
func (a *APIServer) Authorize(ctx context.Context, token secret.Value) error {
	key := sha256.Sum256([]byte(token.Reveal()))
	if allowed, known := a.remembered(key); known {
		return errorFor(allowed)
	}
	allowed, err := a.ask(ctx, token)
	if err != nil {
		return err
	}
	a.remember(key, allowed)
	return errorFor(allowed)
}

func errorFor(allowed bool) error {
	if allowed {
		return nil
	}
	return errRefused
}

func (a *APIServer) ask(ctx context.Context, token secret.Value) (allowed bool, err error) {
	select {
	case a.requests <- struct{}{}:
		defer func() { <-a.requests }()
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

func (a *APIServer) remembered(key [sha256.Size]byte) (allowed, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, known := a.decisions[key]
	if !known || a.now().After(v.until) {
		return false, false
	}
	return v.allowed, true
}

func (a *APIServer) remember(key [sha256.Size]byte, allowed bool) {
	duration := refusedFor
	if allowed {
		duration = allowedFor
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.decisions) >= maxDecisions {
		a.forget()
	}
	a.decisions[key] = decision{allowed: allowed, until: a.now().Add(duration)}
}

// forget drops expired decisions; when that is not enough, all of them: asking again is cheap.
func (a *APIServer) forget() {
	for key, v := range a.decisions {
		if a.now().After(v.until) {
			delete(a.decisions, key)
		}
	}
	if len(a.decisions) >= maxDecisions {
		clear(a.decisions)
	}
}
