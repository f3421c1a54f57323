// Package interlude answers a cluster's clients in the API server's place for as long as its store is being filled from
// a backup. It serves no object. What it is for is that every client which remembers a state from before asks for the
// whole state anew.
//
// A restored store counts its revisions from the beginning, unless they can be advanced, so its clients remember
// revisions that lie in its future. Of such a revision a kube-apiserver answers a list with an error that makes clients
// ask without one, but it accepts a watch, and then sends nothing until the store has come that far: the client is
// deaf, and does not know. client-go's reflectors go on with the watch they had when all they saw in between was
// "connection refused", which is what a Service without pods says, and start with a list after any other error. 410
// Gone is the answer of the protocol to a revision that is no longer there.
package interlude

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

// Least is how long an interlude must last so that every client-go client met it: its pause between two tries of a
// watch grows to 30 s and then is up to twice as long by chance; the rest is for Services to lead here.
const Least = 65 * time.Second

// Handler answers every request: that a revision is gone to those that name one, and that the cluster is being restored
// to all others.
func Handler() http.Handler {
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
		_ = json.NewEncoder(w).Encode(status) // who went away needs no answer
	})
}

// grace is what answers that are on their way get at the end.
const grace = 2 * time.Second

// Serve answers at address, with a certificate from files, until ctx ends.
func Serve(ctx context.Context, address, certFile, keyFile string) error {
	server := &http.Server{Addr: address, Handler: Handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServeTLS(certFile, keyFile) }()
	select {
	case err := <-failed:
		return errclass.Errorf(errclass.Permanent, "answering the cluster's clients at %q: %w", address, err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(ending); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("ending the answers to the cluster's clients: %w", err)
	}
	return server.Close()
}
