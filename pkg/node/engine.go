package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/node/spread"
)

// noChanges is the message of an operation whose phases all held.
const noChanges = "no changes needed"

// Engine carries out operations.
type Engine struct {
	Host  *host.Host
	Store *Store
	// Phases are the phases of each kind of operation, in order.
	Phases map[spec.Kind][]Phase
	// Units starts an operation's own process, which outlives ours.
	Units Units
}

func (e *Engine) phases(op *spec.Operation) ([]Phase, error) {
	if err := CheckID(op.ID); err != nil {
		return nil, err
	}
	phases, known := e.Phases[op.Kind]
	if !known {
		return nil, errclass.Errorf(errclass.Configuration,
			"reading operation %q: this argosy-node does not know the kind %q", op.ID, op.Kind)
	}
	if field := missingField(op); field != "" {
		return nil, errclass.Errorf(errclass.Configuration, "operation %q: field %q is required", op.ID, field)
	}
	return phases, nil
}

// missingField returns the name of the field that an operation of its kind requires and that is not set, else "".
func missingField(op *spec.Operation) string {
	switch op.Kind {
	case spec.KindJoin, spec.KindStage, spec.KindUpgrade, spec.KindRollback:
		if op.Join == nil {
			return "join"
		}
	case spec.KindReset:
		if op.Reset == nil {
			return "reset"
		}
	case spec.KindImages:
		if op.Images == nil {
			return "images"
		}
	}
	return ""
}

// Plan checks every phase and changes nothing. The status tells whether each phase holds, is wanted or makes the
// operation impossible; the state is succeeded when everything holds, running when there is something to do, and failed
// when the machine cannot carry out the operation as it is.
func (e *Engine) Plan(ctx context.Context, op *spec.Operation) (*spec.Status, error) {
	phases, err := e.phases(op)
	if err != nil {
		return nil, err
	}
	c := &Context{Operation: op, Host: e.Host, Store: e.Store, Log: io.Discard}
	status := newStatus(op, len(phases))
	status.State = spec.Succeeded
	for i, phase := range phases {
		began := time.Now()
		holds, detail, err := phase.Check(ctx, c)
		entry := spec.Phase{
			Name: phase.Name, Outcome: spec.Wanted, Detail: detail, Seconds: seconds(began),
			Changes: c.takeChanges(),
		}
		switch {
		case err != nil:
			entry.Outcome, entry.Detail = spec.FailedPhase, err.Error()
			if status.Error == nil {
				status.Error = statusError(phase.Name, withCause(ctx, err))
				status.Phase, status.Index = phase.Name, i+1
			}
		case holds:
			entry.Outcome = spec.Held
		default:
			status.State = spec.Running
		}
		status.Phases = append(status.Phases, entry)
	}
	status.Updated = time.Now().UTC()
	if status.Error != nil {
		status.State = spec.Failed
	}
	if status.State.Final() {
		status.Finished = status.Updated
	}
	return &status, nil
}

// run is one operation under way.
type run struct {
	context  *Context
	recorder *recorder
	phases   []Phase
	// result sets the final state. It is written last, after secrets are removed and deferred work is done.
	result func(*spec.Status)
	// succeeded is set when every phase held or was applied.
	succeeded bool
	// received is the number of bytes that the phase under way received, and moved its transfer's last progress.
	received int64
	moved    spec.Progress
}

// Run carries out the stored operation: it takes the machine's lock, runs the phases and records how it ended. The end
// of stop, with ErrCancelled or ErrStopped as its cause, asks it to end at the next safe point. The returned status is
// final; an error means that there is none.
func (e *Engine) Run(ctx context.Context, id string, stop context.Context, log io.Writer) (*spec.Status, error) {
	op, err := e.Store.Operation(id)
	if err != nil {
		return nil, err
	}
	phases, err := e.phases(op)
	if err != nil {
		return nil, err
	}
	r := &run{phases: phases, recorder: &recorder{status: newStatus(op, len(phases)), write: e.Store.WriteStatus}}
	held, other, err := e.Store.tryLock(id)
	if err != nil {
		return nil, err
	}
	if held == nil {
		if other.ID == id {
			return nil, errclass.Errorf(errclass.Transient, "running operation %q: another process runs it already", id)
		}
		// Two operations were started in the same moment, and the other one was faster.
		status, _ := e.Store.Status(other.ID)
		status = busyStatus(op, other.ID, status)
		return status, errors.Join(e.Store.RemoveSecrets(id), e.Store.WriteStatus(status))
	}
	defer held.release()

	r.context = &Context{
		Operation: op, Host: e.Host, Store: e.Store, Log: log, stop: stop,
		setMessage: func(message string) {
			r.recorder.change(true, func(s *spec.Status) { s.Message, s.Progress = message, nil })
		},
		awaits: func(awaits bool) {
			r.recorder.change(true, func(s *spec.Status) { s.AwaitsAdmission = awaits })
		},
		feed: func(key string) {
			r.recorder.change(true, func(s *spec.Status) { s.Feed = key })
		},
		progress: func(p spec.Progress) {
			r.recorder.change(false, func(s *spec.Status) { r.progress(s, p) })
		},
	}
	if op.Spread {
		r.context.Spread = spread.NewClient(e.Host.Path(spec.BundlesDir), log)
		r.context.Defer(r.context.Spread.Close)
	}
	if timeout := time.Duration(op.Timeout); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w of %s", errDeadline, timeout))
		defer cancel()
	}
	r.runPhases(ctx)
	// First the secrets go, and the final status is written last.
	if err := r.context.RemoveSecrets(); err != nil {
		fmt.Fprintf(log, "removing secrets: %v\n", err)
	}
	r.context.runDeferred()
	_ = e.Store.clearMessages(id)
	if r.succeeded {
		if err := e.Store.removeBundles(); err != nil {
			fmt.Fprintf(log, "removing what bundles arrived in: %v\n", err)
		}
	}
	r.recorder.change(true, func(s *spec.Status) {
		r.result(s)
		s.Finished = time.Now().UTC()
	})
	status := r.recorder.snapshot()
	fmt.Fprintf(log, "%s: %s\n", status.State, status.Message)
	return status, r.recorder.err
}

// runPhases runs the phases in order until one fails, or the operation is to stop, and sets the result.
func (r *run) runPhases(ctx context.Context) {
	for i, phase := range r.phases {
		if why := r.context.Stopped(); why != nil {
			r.end(phase.Name, i, why)
			return
		}
		r.recorder.change(true, func(s *spec.Status) {
			s.Phase, s.Index, s.Message, s.Progress = phase.Name, i+1, phase.Short, nil
			r.received, r.moved = 0, spec.Progress{}
		})
		began := time.Now()
		entry, err := r.runPhase(ctx, phase)
		entry.Seconds = seconds(began)
		fmt.Fprintf(r.context.Log, "[%d/%d %s] %s in %.3fs: %s\n", i+1, len(r.phases), phase.Name, entry.Outcome,
			entry.Seconds, entry.Detail)
		r.recorder.change(false, func(s *spec.Status) {
			entry.Bytes = r.received
			s.Phases = append(s.Phases, entry)
			s.Changed = s.Changed || entry.Outcome == spec.Applied
			s.Progress, s.Feed, s.AwaitsAdmission = nil, "", false
		})
		if err != nil {
			r.end(phase.Name, i, err)
			return
		}
	}
	r.succeeded = true
	r.result = func(s *spec.Status) {
		s.State, s.Message = spec.Succeeded, "done"
		if !s.Changed {
			s.Message = noChanges
		}
	}
}

func (r *run) runPhase(ctx context.Context, phase Phase) (spec.Phase, error) {
	entry := spec.Phase{Name: phase.Name, Outcome: spec.FailedPhase}
	holds, detail, err := phase.Check(ctx, r.context)
	logChanges(r.context.Log, r.context.takeChanges())
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil && holds {
		entry.Outcome, entry.Detail = spec.Held, detail
		return entry, nil
	}
	if err == nil {
		detail, err = phase.Apply(ctx, r.context)
	}
	if err == nil {
		// The next phase relies on this one, also after a loss of power.
		err = r.context.Host.SyncFolders()
	}
	if err != nil {
		// A phase may have met a full disk where it does not go through the host.
		err = r.context.Host.Explain(spec.Root, err)
		err = r.checkShutdown(ctx, withCause(ctx, err))
		entry.Detail = err.Error()
		return entry, err
	}
	entry.Outcome, entry.Detail = spec.Applied, detail
	return entry, nil
}

// logChanges writes the changes that are about to be made to the operation's log.
func logChanges(log io.Writer, changes []spec.Change) {
	for _, change := range changes {
		fmt.Fprintf(log, "%s differs (%s)\n%s", change.What, change.Effect, change.Diff)
	}
}

// checkShutdown gives an error that came from a shutdown its true cause: services cannot be started any more, sometimes
// a moment before we are told to end ourselves.
func (r *run) checkShutdown(ctx context.Context, err error) error {
	if errors.Is(err, ErrCancelled) || errors.Is(err, ErrStopped) {
		return err
	}
	stopping := errors.Is(r.context.Stopped(), ErrStopped)
	var failed *host.CommandError
	if !stopping && errors.As(err, &failed) {
		output, _ := r.context.Host.Runner.Run(context.WithoutCancel(ctx),
			host.Command{Argv: []string{"systemctl", "is-system-running"}})
		stopping = strings.TrimSpace(string(output)) == "stopping"
	}
	if stopping {
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return err
}

// progress sets the progress of a transfer and counts the bytes received. A transfer whose number of bytes went back
// has begun anew.
func (r *run) progress(s *spec.Status, p spec.Progress) {
	before := r.moved.Done
	if r.moved.What != p.What || before > p.Done {
		before = 0
	}
	r.received += p.Done - before
	r.moved, s.Progress = p, &p
}

func (r *run) end(phase string, index int, err error) {
	r.result = func(s *spec.Status) {
		s.State, s.Phase, s.Index = spec.Failed, phase, index+1
		if errors.Is(err, ErrCancelled) {
			s.State = spec.Cancelled
		}
		s.Error = statusError(phase, err)
		s.Message = s.Error.Message
	}
}

func seconds(since time.Time) float64 {
	return math.Round(time.Since(since).Seconds()*1000) / 1000
}
