// Package operation runs operations on machines: it identifies them, limits how many run at a time, retries transient
// errors, follows and stops them, and reports their progress. The content of an operation, and its part in the cluster,
// is left to the packages that use it.
package operation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// Machine is the plugin's side of one machine; *machine.Machine is one.
type Machine interface {
	Inspect(ctx context.Context, question spec.Question) (spec.Facts, error)
	Start(ctx context.Context, op spec.Operation) (spec.Status, error)
	Watch(ctx context.Context, id string, each func(spec.Status)) (spec.Status, error)
	Cancel(ctx context.Context, id string) error
}

// Identify returns the operation's ID, which depends on the wanted state alone: neither on its timeout, nor on
// whether it is to be admitted, nor on the secrets that it is done with.
func Identify(op spec.Operation) (string, error) {
	op.ID, op.Timeout, op.Secrets = "", 0, spec.Secrets{}
	op.Admission = false
	encoded, err := json.Marshal(op)
	if err != nil {
		return "", fmt.Errorf("encoding the operation on machine %q: %w", op.Machine, err)
	}
	digest := sha256.Sum256(encoded)
	return string(op.Kind) + "-" + hex.EncodeToString(digest[:8]), nil
}

// Watch shows an operation's status, which it gets as it was at first, until it is final, and returns the last one.
type Watch func(ctx context.Context, status spec.Status) (spec.Status, error)

// Runner sees operations through that run on machines.
type Runner struct {
	// Log gets a line at the start and the end of each operation; nil writes none.
	Log *slog.Logger
	// Detached reports whether a cancellation only ends this process, while the work on the machine should go on; nil
	// for never.
	Detached func(cause error) bool
}

// Run has the machine carry out the operation, or attaches to it where it runs, and returns how it ended: an error
// unless it succeeded. When ctx ends, the machine stops at its next safe point, unless its end only ends this process.
// An operation that another caller cancels is started again, once.
func (f Runner) Run(ctx context.Context, machine Machine, op spec.Operation, watch Watch) (spec.Status,
	error,
) {
	status, err := f.once(ctx, machine, op, watch)
	// A workflow that was terminated cancels its operation, to which another workflow may have attached meanwhile.
	if err == nil && status.State == spec.Cancelled && ctx.Err() == nil {
		f.log().Info("operation was cancelled by another caller; starting it again", "machine", op.Machine,
			"operation", op.ID)
		status, err = f.once(ctx, machine, op, watch)
	}
	if err == nil && status.State != spec.Succeeded {
		err = errclass.With(classOf(status), &Failure{Machine: op.Machine, Status: status})
	}
	return status, err
}

// once starts the operation or attaches to it, and returns its last status.
func (f Runner) once(ctx context.Context, machine Machine, op spec.Operation, watch Watch) (spec.Status, error) {
	status, err := machine.Start(ctx, op)
	if err != nil {
		return status, fmt.Errorf("starting operation %s: %w", op.ID, err)
	}
	log := f.log().With("machine", op.Machine, "operation", op.ID)
	log.Info("operation runs")
	if !status.State.Final() {
		reached(ctx, status)
		status, err = f.follow(ctx, machine, op.ID, status, watch)
		reached(ctx, status)
		measured(ctx, status)
	}
	log.Info("operation followed", "state", status.State, "phase", status.Phase, "error", err)
	return status, err
}

func (f Runner) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}

// follow watches a running operation to its end. A cancellation stops it on the machine, unless it only ends this
// process.
func (f Runner) follow(ctx context.Context, machine Machine, id string, status spec.Status, watch Watch) (spec.Status,
	error,
) {
	status, err := watch(ctx, status)
	if ctx.Err() == nil || status.State.Final() {
		return status, err
	}
	if f.Leaves(ctx) {
		return status, context.Cause(ctx)
	}
	return stop(ctx, machine, id)
}

// Leaves reports whether ctx has ended in a way that lets the work on machines go on.
func (f Runner) Leaves(ctx context.Context) bool {
	return ctx.Err() != nil && f.Detached != nil && f.Detached(context.Cause(ctx))
}

// stopTimeout bounds the wait for a machine to reach a safe point after a cancellation; Argo gives a pod 30 s to end.
const stopTimeout = 20 * time.Second

func stop(ctx context.Context, machine Machine, id string) (spec.Status, error) {
	cause := context.Cause(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := machine.Cancel(ctx, id); err != nil {
		return spec.Status{}, errors.Join(cause, fmt.Errorf("stopping operation %s: %w", id, err))
	}
	status, err := machine.Watch(ctx, id, func(spec.Status) {})
	if err != nil {
		return status, errors.Join(cause, fmt.Errorf("waiting for operation %s to stop: %w", id, err))
	}
	if status.State == spec.Succeeded {
		return status, nil
	}
	return status, errclass.With(errclass.Cancelled, cause)
}
