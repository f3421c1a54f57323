package restconfig

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// renewEvery is how often at most a kubeconfig is read again: requests that are refused at the same moment share what
// one of them has read, and a cluster that refuses everything is not asked twice for each request.
const renewEvery = 10 * time.Second

// Renewing returns a copy of config whose clients read the kubeconfig again where the API server refuses their
// credentials, and repeat the request once if it has others by then: a token that expired, or keys that were exchanged,
// end no run that lasts for hours. Only credentials are taken over; server and authority stay.
func Renewing(config *rest.Config, read func(ctx context.Context) (*rest.Config, error)) *rest.Config {
	own := rest.CopyConfig(config)
	own.Wrap(func(inner http.RoundTripper) http.RoundTripper {
		return &renewer{transport: inner, config: rest.CopyConfig(config), read: read}
	})
	return own
}

// renewer sends requests with the credentials that were read last.
type renewer struct {
	read func(ctx context.Context) (*rest.Config, error)

	mu sync.Mutex
	// config has the credentials of transport.
	config    *rest.Config
	transport http.RoundTripper
	// renewed is true where transport adds the credentials itself; those of the client's start are in the request.
	renewed bool
	last    time.Time
}

// RoundTrip sends a request, and sends it again where it was refused and other credentials are there.
func (r *renewer) RoundTrip(request *http.Request) (*http.Response, error) {
	transport, renewed := r.current()
	response, err := transport.RoundTrip(prepare(request, renewed))
	if err != nil || response.StatusCode != http.StatusUnauthorized || request.Body != nil && request.GetBody == nil {
		return response, err
	}
	next, changed := r.renew(request.Context(), transport)
	if !changed {
		return response, nil
	}
	_ = response.Body.Close()
	again := prepare(request, true)
	if request.GetBody != nil {
		if again.Body, err = request.GetBody(); err != nil {
			return nil, fmt.Errorf("sending a request to %q again: %w", request.URL.Host, err)
		}
	}
	return next.RoundTrip(again)
}

// prepare returns the request without the credentials of the client's start, where the transport has others.
func prepare(request *http.Request, renewed bool) *http.Request {
	if !renewed {
		return request
	}
	request = request.Clone(request.Context())
	request.Header.Del("Authorization")
	return request
}

func (r *renewer) current() (transport http.RoundTripper, renewed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.transport, r.renewed
}

// renew returns the transport to send a request with that was refused over another one; changed is false where there
// are no other credentials.
func (r *renewer) renew(ctx context.Context, refused http.RoundTripper) (next http.RoundTripper, changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.transport != refused {
		return r.transport, true
	}
	if !r.last.IsZero() && time.Since(r.last) < renewEvery {
		return nil, false
	}
	r.last = time.Now()
	found, err := r.read(ctx)
	if err != nil || same(found, r.config) {
		return nil, false
	}
	config := withCredentialsOf(r.config, found)
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, false
	}
	r.config, r.transport, r.renewed = config, transport, true
	return transport, true
}

// withCredentialsOf returns config with the credentials of other.
func withCredentialsOf(config, other *rest.Config) *rest.Config {
	made := rest.CopyConfig(config)
	made.BearerToken, made.Username, made.Password = other.BearerToken, other.Username, other.Password
	made.CertData, made.KeyData = other.CertData, other.KeyData
	return made
}

// same reports whether two configurations have the same credentials.
func same(a, b *rest.Config) bool { return credentials(a) == credentials(b) }

func credentials(c *rest.Config) [5]string {
	return [5]string{c.BearerToken, c.Username, c.Password, string(c.CertData), string(c.KeyData)}
}
