package upgrade

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Request is a person's wish for a rollout that is under way. It is kept at the Lease, where every process that works
// on the rollout reads it before it lets a machine begin.
type Request string

const (
	// Pause lets no machine begin until the request is taken back. Machines at work finish.
	Pause Request = "pause"
	// Abort lets no machine begin any more. Machines at work finish, and the others are left as they are.
	Abort Request = "abort"
)

// requestAnnotation is the key at the Lease under which a request stands, as JSON.
const requestAnnotation = "argosy.dev/rollout-request"

// request is the value of requestAnnotation. One of another rollout than the Lease's holder counts as none.
type request struct {
	Rollout string  `json:"rollout"`
	Request Request `json:"request"`
}

// requestOf returns the request to a rollout at the Lease; "" for none. One that can't be parsed counts as none.
func requestOf(lease *coordination.Lease, rollout string) Request {
	var found request
	if json.Unmarshal([]byte(lease.Annotations[requestAnnotation]), &found) != nil || found.Rollout != rollout {
		return ""
	}
	return found.Request
}

// readRequest reads the request to this rollout into the view, whose lock the caller holds.
func (u *Upgrader) readRequest(ctx context.Context) {
	found, err := u.leases().Get(ctx, leaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		u.view.request, u.view.requestErr = "", nil
	case err != nil:
		u.view.requestErr = fmt.Errorf("reading whether the rollout is paused from Lease %s/%s: %w",
			metav1.NamespaceSystem, leaseName, apply.Classify(err))
	default:
		u.view.request, u.view.requestErr = requestOf(found, u.Rollout), nil
	}
}

// awaitRequest waits while a person has paused the rollout, the request can't be read, or this process has not got the
// Lease. The error is a *rollout.Halt where the rollout was aborted. It is for rollbacks, which have no plan: machines
// of a plan ask [Upgrader.admit].
func (u *Upgrader) awaitRequest(ctx context.Context, progress operation.Progress) error {
	return await(ctx, progress, func() (why, err error) {
		asked, unread := u.requestNow(ctx)
		switch {
		case unread == nil && asked == Abort:
			return nil, &rollout.Halt{Reason: rollout.ReasonAborted}
		case unread == nil && asked == Pause:
			return errWait(rollout.ReasonPaused), nil
		}
		return cmp.Or(unread, u.lost()), nil
	})
}

// requestNow reads the request to this rollout.
func (u *Upgrader) requestNow(ctx context.Context) (Request, error) {
	u.view.mu.Lock()
	defer u.view.mu.Unlock()
	u.readRequest(ctx)
	return u.view.request, u.view.requestErr
}

// requested returns the request as it was read last.
func (v *view) requested() Request {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.request
}

// unread returns why the request could not be read the last time; nil where it was.
func (v *view) unread() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.requestErr
}

// errNoRollout is the error about a request where no rollout is under way.
func errNoRollout(cluster string) error {
	return errclass.Errorf(errclass.Permanent, "no rollout of cluster %q is under way: its first machine has not "+
		"begun, or it has ended; \"argosy status\" shows its nodes", cluster)
}

// Ask asks something of the rollout that is under way, whichever process works on it, and returns its name. An empty
// request takes a pause back. It is an error where none is under way, and where it was aborted before.
func (u *Upgrader) Ask(ctx context.Context, asked Request) (rollout string, err error) {
	err = u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) error {
		found, err := u.leases().Get(ctx, leaseName, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) || err == nil && holderOf(found) == "":
			return errNoRollout(u.Cluster.Name)
		case err != nil:
			return fmt.Errorf("reading Lease %s/%s: %w", metav1.NamespaceSystem, leaseName, apply.Classify(err))
		}
		rollout = holderOf(found)
		before := requestOf(found, rollout)
		switch {
		case before == asked:
			return nil
		case before == Abort:
			return errclass.Errorf(errclass.Permanent, "rollout %s was aborted; begin another one", rollout)
		}
		return u.setRequest(ctx, found, request{Rollout: rollout, Request: asked})
	})
	return rollout, err
}

// setRequest sets the request at the Lease as it was read, or takes it away.
func (u *Upgrader) setRequest(ctx context.Context, found *coordination.Lease, asked request) error {
	var value *string
	if asked.Request != "" {
		text, err := json.Marshal(asked)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		value = new(string)
		*value = string(text)
	}
	// Without a resource version, which each renewal changes. The request names its rollout, and counts for no other.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": map[string]*string{requestAnnotation: value}},
	})
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	_, err = u.leases().Patch(ctx, found.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: apply.Manager})
	switch {
	case apierrors.IsNotFound(err):
		return errNoRollout(u.Cluster.Name)
	case err != nil:
		return fmt.Errorf("setting the request at Lease %s/%s: %w", metav1.NamespaceSystem, leaseName,
			apply.Classify(err))
	}
	return nil
}

// AwaitEnd waits until the rollout of that name has ended, or is not at work: where its process was killed, or its
// workflow waits for a person, its Lease is not renewed any more. It then finishes or uncordons the nodes that it left
// cordoned, and returns a line for each. It reports the machines that are at work meanwhile.
func (u *Upgrader) AwaitEnd(ctx context.Context, rollout string, progress operation.Progress) ([]string, error) {
	last := ""
	for {
		status, err := u.Status(ctx)
		if err != nil {
			return nil, err
		}
		if status.Rollout != rollout {
			return nil, nil // its own cleanup has come to its end
		}
		if status.idle {
			break
		}
		if text := status.String(); text != last {
			last = text
			operation.Reportf(progress, "%s", text)
		}
		if err := pause(ctx, leaseAsks); err != nil {
			return nil, err
		}
	}
	return u.Clean(ctx, progress)
}
