package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// outage has the failures that a client saw of an API server that it polled all the time.
type outage struct {
	asked, failed int
	// gap is the longest time from one good answer to the next.
	gap time.Duration
	// first failure, if any.
	first error
}

// add makes the outage that of several rounds.
func (o *outage) add(other outage) {
	o.asked, o.failed, o.gap = o.asked+other.asked, o.failed+other.failed, max(o.gap, other.gap)
	if o.first == nil {
		o.first = other.first
	}
}

// text is a part of a figure's line: "kept-gap=0.06s kept-failed=0/1204".
func (o *outage) text(prefix string) string {
	text := fmt.Sprintf("%sgap=%.2fs %sfailed=%d/%d", prefix, o.gap.Seconds(), prefix, o.failed, o.asked)
	if o.first != nil {
		text += fmt.Sprintf(" %sfirst-failure=%q", prefix, o.first)
	}
	return text
}

// watcher is a client that asks an API server for an object of its store every askEvery. Requests overlap, so that one
// which hangs hides no other.
type watcher struct {
	ask func(context.Context) error

	mutex  sync.Mutex
	seen   outage
	latest time.Time // good answer
}

const (
	// askTimeout is how long a request on a new connection may take; then it has failed.
	askTimeout = time.Second
	// keptTimeout leaves client-go the second after which it repeats a request that an API server put off as it ended.
	keptTimeout = 3 * time.Second
	// asked is an object rather than /readyz: an API server that ends is not ready any more, but still answers.
	asked = "/api/v1/namespaces/default"
)

// newWatchers are two clients: one makes a connection for each request and takes every refusal for a failure, the other
// is client-go's, which keeps its connection and repeats requests when the server asks it to.
func newWatchers(access *rest.Config) (fresh, kept *watcher, err error) {
	access = rest.CopyConfig(access)
	access.Timeout, access.QPS = keptTimeout, -1
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return nil, nil, fmt.Errorf("making a client for %s: %w", access.Host, err)
	}
	tls, err := rest.TLSConfigFor(access)
	if err != nil {
		return nil, nil, fmt.Errorf("making a client for %s: %w", access.Host, err)
	}
	forgetting := &http.Client{Timeout: askTimeout, Transport: &http.Transport{
		TLSClientConfig:   tls,
		DisableKeepAlives: true,
	}}
	fresh = &watcher{ask: func(ctx context.Context) error { return ask(ctx, forgetting, access.Host+asked) }}
	kept = &watcher{ask: func(ctx context.Context) error {
		return client.RESTClient().Get().AbsPath(asked).Do(ctx).Error()
	}}
	return fresh, kept, nil
}

// run asks until ctx ends, and then waits for the last answers.
func (w *watcher) run(ctx context.Context) {
	var requests sync.WaitGroup
	defer requests.Wait()
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			requests.Go(func() { w.note(w.ask(context.WithoutCancel(ctx))) })
		}
	}
}

// note counts an answer. The first good one begins the measurement.
func (w *watcher) note(err error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	switch now := time.Now(); {
	case err == nil && w.latest.IsZero():
		w.latest, w.seen = now, outage{asked: 1}
	case err == nil:
		w.seen.asked++
		w.seen.gap, w.latest = max(w.seen.gap, now.Sub(w.latest)), now
	default:
		w.seen.asked++
		w.seen.failed++
		if w.seen.first == nil {
			w.seen.first = err
		}
	}
}

// goodSince reports whether a good answer came after a time.
func (w *watcher) goodSince(t time.Time) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.latest.After(t)
}
