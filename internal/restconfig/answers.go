package restconfig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Answers observes how an API server answers the clients of a configuration. The zero value is ready for use.
type Answers struct {
	mu   sync.Mutex
	last Overload
}

// Overload is the last sign that an API server has more to do than it can.
type Overload struct {
	// At is when it came; zero where none has.
	At time.Time
	// Reason is the sign in words, with the server as "it": "it answered 429 Too Many Requests".
	Reason string
	// RetryAfter is how long the server asked to be left alone; 0 where it did not.
	RetryAfter time.Duration
}

// Observed returns a copy of config whose clients are observed. Its rate limiter is before that: waiting for one's own
// turn is no slowness of the server.
func (a *Answers) Observed(config *rest.Config) *rest.Config {
	own := rest.CopyConfig(config)
	own.Wrap(func(inner http.RoundTripper) http.RoundTripper { return &observer{inner, a} })
	return own
}

// Last returns the last sign of an overload.
func (a *Answers) Last() Overload {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *Answers) note(overload Overload) {
	a.mu.Lock()
	defer a.mu.Unlock()
	overload.At = time.Now()
	a.last = overload
}

type observer struct {
	transport http.RoundTripper
	answers   *Answers
}

// RoundTrip sends a request and notes its answer.
func (o *observer) RoundTrip(request *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := o.transport.RoundTrip(request)
	if took, asked := request.Context().Value(tookKey{}).(*time.Duration); asked {
		*took = time.Since(began)
	}
	switch {
	case err != nil && request.Context().Err() == nil && !errors.Is(err, context.Canceled):
		o.answers.note(Overload{Reason: fmt.Sprintf("it did not answer: %v", err)})
	case err == nil && overloaded(response.StatusCode):
		o.answers.note(Overload{
			Reason:     fmt.Sprintf("it answered %d %s", response.StatusCode, http.StatusText(response.StatusCode)),
			RetryAfter: retryAfter(response),
		})
	}
	return response, err
}

func overloaded(code int) bool {
	return code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable ||
		code == http.StatusGatewayTimeout
}

// retryAfter returns the time in header Retry-After, which API servers write in seconds; 0 where there is none.
func retryAfter(response *http.Response) time.Duration {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

type tookKey struct{}

// WithTook returns a context whose request sets took to how long the server needed for its answer, without the wait in
// the client's rate limiter. It is for one request at a time, of an observed client.
func WithTook(ctx context.Context, took *time.Duration) context.Context {
	return context.WithValue(ctx, tookKey{}, took)
}
