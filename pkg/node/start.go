package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// Start starts the operation, unless it runs already or there is nothing to do, and returns its status. It decides by
// this table, from the top; "works" means that a process holds the machine's lock, or that its unit was just started.
//
//	who works    checks            answer                             written          unit
//	this id      -                 attach: its status, running        nothing          none
//	another id   -                 failed, transient: machine busy    nothing          none
//	none         one has an error  failed, with the reasons           status           none
//	none         all hold          succeeded, changed=false           status           none
//	none         not all, token    running                            spec, status     started
//	             is missing        failed, configuration              nothing          none
//
// The status of an earlier run (running although its process is gone, as after a reboot; failed; cancelled; succeeded)
// never decides: the checks find the work that is left. An error is one of argosy-node itself.
func (e *Engine) Start(ctx context.Context, op *spec.Operation) (*spec.Status, error) {
	if _, err := e.phases(op); err != nil {
		return nil, err
	}
	startLock, err := e.Store.lockStart(ctx)
	if err != nil {
		return nil, err
	}
	defer startLock.release()

	if status := e.runningStatus(ctx, op); status != nil {
		return status, nil
	}
	if err := e.removeOtherSecrets(ctx, op.ID); err != nil {
		return nil, err
	}
	status, err := e.Plan(ctx, op)
	if err != nil {
		return nil, err
	}
	if status.State.Final() {
		if status.State == spec.Succeeded {
			status.Message = noChanges
		} else {
			status.Message = status.Error.Message
		}
		return status, e.recordEnd(op, status)
	}
	if missing := missingSecrets(op, status); missing != nil {
		status.State, status.Error, status.Message = spec.Failed, missing, missing.Message
		return status, nil
	}
	return e.startUnit(ctx, op)
}

// removeOtherSecrets removes the secrets of all other operations that are over. One that was cut off by a power loss
// did not remove them, and may never be started again. One whose unit has just started, and has not taken the machine's
// lock yet, needs them.
func (e *Engine) removeOtherSecrets(ctx context.Context, id string) error {
	for _, other := range e.Store.ids() {
		status, err := e.Store.Status(other)
		over := err == nil && status.State.Final()
		if other == id || !over && e.Units.Alive(ctx, other) {
			continue
		}
		if err := e.Store.RemoveSecrets(other); err != nil {
			return fmt.Errorf("removing the secrets of operation %q, which is over: %w", other, err)
		}
	}
	return nil
}

// runningStatus returns the status to answer with while an operation runs on the machine; nil when none does.
func (e *Engine) runningStatus(ctx context.Context, op *spec.Operation) *spec.Status {
	id := e.Store.Working()
	if id == "" {
		return e.startingStatus(ctx, op)
	}
	status, err := e.Store.Status(id)
	if id == op.ID {
		if err != nil {
			fresh := newStatus(op, len(e.Phases[op.Kind]))
			status = &fresh
		}
		return status
	}
	return busyStatus(op, id, status)
}

// startingStatus returns the status of an operation whose unit was started and has not taken the lock yet; nil for
// none.
func (e *Engine) startingStatus(ctx context.Context, op *spec.Operation) *spec.Status {
	status, err := e.Store.Status(op.ID)
	if err != nil || status.State.Final() || !e.Units.Alive(ctx, op.ID) {
		return nil
	}
	return status
}

func busyStatus(op *spec.Operation, other string, status *spec.Status) *spec.Status {
	with := other
	if status != nil {
		with = fmt.Sprintf("%s (%s, phase %d/%d %s)", other, status.Kind, status.Index, status.Total, status.Phase)
	}
	answer := newStatus(op, 0)
	answer.State = spec.Failed
	answer.Message = fmt.Sprintf("machine %s is busy with operation %s", op.Machine, with)
	answer.Error = &spec.Error{
		Class: errclass.Transient, Message: answer.Message,
		Hint: "it is tried again when that operation has ended",
	}
	answer.Finished = answer.Updated
	return &answer
}

// missingSecrets returns an error if a wanted phase needs a secret that the operation does not have.
func missingSecrets(op *spec.Operation, status *spec.Status) *spec.Error {
	if op.Kind != spec.KindJoin || op.Secrets.BootstrapToken != "" {
		return nil
	}
	for _, phase := range status.Phases {
		if phase.Name == "kubeadm" && phase.Outcome == spec.Wanted {
			return &spec.Error{
				Class: errclass.Configuration, Phase: phase.Name,
				Message: "the machine is not joined yet, and the operation carries no bootstrap token",
			}
		}
	}
	return nil
}

// recordEnd records an operation that ended without a unit. Secrets of an earlier attempt go, ours are never written.
func (e *Engine) recordEnd(op *spec.Operation, status *spec.Status) error {
	if err := e.Store.Prepare(op.ID); err != nil {
		return err
	}
	return errors.Join(e.Store.RemoveSecrets(op.ID), e.Store.clearMessages(op.ID), e.Store.WriteStatus(status))
}

// startUnit stores the operation and starts its unit.
func (e *Engine) startUnit(ctx context.Context, op *spec.Operation) (*spec.Status, error) {
	e.Store.prune(op.ID)
	if err := e.Store.Prepare(op.ID); err != nil {
		return nil, err
	}
	if op.Join != nil {
		if err := e.Store.removeStaleBundles(); err != nil {
			return nil, err
		}
	}
	status := newStatus(op, len(e.Phases[op.Kind]))
	status.Message = "starting"
	if err := errors.Join(e.Store.clearMessages(op.ID), e.Store.WriteOperation(op),
		e.Store.WriteStatus(&status)); err != nil {
		return nil, err
	}
	if err := e.Units.Start(ctx, op.ID, time.Duration(op.Timeout)); err != nil {
		// No process will run it and remove them.
		_ = e.Store.RemoveSecrets(op.ID)
		status.State, status.Error = spec.Failed, statusError("", err)
		status.Finished = time.Now().UTC()
		status.Message = status.Error.Message
		return &status, e.Store.WriteStatus(&status)
	}
	return &status, nil
}

// Cancel asks the operation to stop at its next safe point, and returns its status. One that no process runs is only
// marked as cancelled.
func (e *Engine) Cancel(ctx context.Context, id string) (*spec.Status, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	if _, err := e.Store.Status(id); err != nil {
		return nil, err
	}
	startLock, err := e.Store.lockStart(ctx)
	if err != nil {
		return nil, err
	}
	defer startLock.release()
	status, err := e.Store.Status(id)
	if err != nil {
		return nil, err
	}
	if status.State.Final() {
		return status, nil
	}
	if e.Store.Working() == id || e.Units.Alive(ctx, id) {
		return status, e.Store.requestStop(id)
	}
	status.State, status.Error = spec.Cancelled, statusError(status.Phase, ErrCancelled)
	status.Finished = time.Now().UTC()
	status.Message = status.Error.Message
	return status, errors.Join(e.Store.RemoveSecrets(id), e.Store.WriteStatus(status))
}

// StopContext returns a context that ends with ErrCancelled when Cancel was called for the operation. It polls for that
// until ctx ends.
func (s *Store) StopContext(ctx context.Context, id string) context.Context {
	stop, cancel := context.WithCancelCause(ctx)
	go func() {
		for {
			if s.stopRequested(id) {
				cancel(ErrCancelled)
			}
			select {
			case <-stop.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return stop
}

// OpenLog opens the operation's log to append to.
func (s *Store) OpenLog(id string) (*os.File, error) {
	log, err := os.OpenFile(s.logFile(id), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of operation %q: %w", id, err)
	}
	return log, nil
}
