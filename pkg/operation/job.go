package operation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// Inspection is a machine as an inspection found it, and the operation that it was inspected for.
type Inspection struct {
	// Facts of the machine; their Plan is the operation's.
	Facts     spec.Facts
	Operation spec.Operation
}

// Running reports whether the machine works on this very operation now.
func (i Inspection) Running() bool { return i.Facts.Working == i.Operation.ID }

// HasWork reports whether the operation runs, or has something to do on the machine.
func (i Inspection) HasWork() bool { return i.Running() || Wants(i.Facts.Plan) }

// Refusal returns the plan's error with its class; nil where it has none. An operation that runs is followed, whatever
// a new plan finds.
func (i Inspection) Refusal(machine string) error {
	if i.Facts.Plan.Error == nil || i.Running() {
		return nil
	}
	return errclass.With(classOf(*i.Facts.Plan), &Failure{Machine: machine, Status: *i.Facts.Plan})
}

func (i Inspection) inspection() Inspection { return i }

// Inspected is an Inspection, or a struct that embeds one.
type Inspected interface{ inspection() Inspection }

// ErrNothingToDo ends a job without an error when its Inspect returns it: nothing is applied, and the machine does not
// wait for its place in the limiter.
var ErrNothingToDo = errors.New("nothing to do on the machine")

// Job is one operation on one machine. All operations run as jobs, so that retries, the limiter, the deadline and the
// class of an error are the same for each. The zero values of the optional fields are stated with them.
type Job[I Inspected] struct {
	// Verb begins the errors, e.g. "joining"; empty leaves errors as they are.
	Verb    string
	Machine config.Machine
	Limits  config.Limits
	// InCluster is the time that Apply may take in the cluster, beside the machine's own Limits.MachineTimeout.
	InCluster time.Duration
	// Limiter that Prepare and Apply run in; nil runs them at once.
	Limiter *Limiter
	// Inspections bound how many machines are inspected at once; nil takes those of Limiter, and without one there is
	// no bound.
	Inspections *Inspections
	// Progress gets an event at each change.
	Progress Progress

	// Inspect asks the machine for its facts and the plan. It runs at the start of each attempt.
	Inspect func(ctx context.Context) (I, error)
	// Known takes the place of the first attempt's inspection where one was made just before; nil inspects.
	Known *I
	// Prepare runs before the deadline begins; nil for nothing. A drain belongs here: it has a timeout of its own.
	Prepare func(ctx context.Context, found I) error
	// Apply has the machine do its work, and does its part in the cluster. It is not called for a plan that
	// has an error.
	Apply func(ctx context.Context, found I) error
}

// Run inspects the machine and applies the plan, and repeats both while the error is transient and Limits.RetryBudget
// lasts.
func (j Job[I]) Run(ctx context.Context) error {
	known := j.Known
	err := Retrying(ctx, j.Limits.RetryBudget.Duration, j.Progress, func(ctx context.Context) error {
		found, err := j.inspect(ctx, known)
		known = nil
		if err != nil {
			return err
		}
		return j.attempt(ctx, found)
	})
	if errors.Is(err, ErrNothingToDo) {
		return nil
	}
	if err != nil && j.Verb != "" {
		return fmt.Errorf("%s machine %q (%s): %w", j.Verb, j.Machine.Name, j.Machine.Address, err)
	}
	return err
}

func (j Job[I]) inspect(ctx context.Context, known *I) (I, error) {
	if known != nil {
		return *known, nil
	}
	places := j.Inspections
	if places == nil && j.Limiter != nil {
		places = &j.Limiter.inspections
	}
	leave, err := places.enter(ctx)
	if err != nil {
		var none I
		return none, err
	}
	defer leave()
	j.Progress.Report(Event{
		Activity: ActivityInspect,
		Detail:   fmt.Sprintf("inspecting machine %s (%s)", j.Machine.Name, j.Machine.Address),
	})
	return j.Inspect(ctx)
}

// attempt refuses a plan with an error, waits for the limiter, and applies the plan within the deadline. The time in
// the limiter's queue does not count.
func (j Job[I]) attempt(ctx context.Context, found I) error {
	if err := found.inspection().Refusal(j.Machine.Name); err != nil {
		return err
	}
	leave, err := j.enter(ctx, found.inspection().Running())
	if err != nil {
		return err
	}
	defer leave()
	if j.Prepare != nil {
		if err := j.Prepare(ctx, found); err != nil {
			return err
		}
	}
	limit := j.Limits.MachineTimeout.Duration + deadlineMargin + j.InCluster
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errclass.Errorf(errclass.Permanent,
		"the machine has not finished within %s; limits.machineTimeout of argosy.yaml sets how long it may take",
		limit))
	defer cancel()
	return j.Apply(ctx, found)
}

// deadlineMargin is how much longer than the machine's own limit its work is waited for: the machine ends an operation
// at that limit itself, and its error names the phase.
const deadlineMargin = time.Minute

func (j Job[I]) enter(ctx context.Context, running bool) (leave func(), err error) {
	switch {
	case j.Limiter == nil:
		return func() {}, nil
	case running:
		return j.Limiter.EnterRunning(), nil
	}
	return j.Limiter.EnterReporting(ctx, j.Progress)
}
