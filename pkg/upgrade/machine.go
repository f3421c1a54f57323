package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Phases of an upgrade in the cluster.
const (
	phaseCordon   = "cordon"
	phaseDrain    = "drain"
	phaseReady    = "ready"
	phaseServing  = "serving"
	phaseLabels   = "labels"
	phaseUncordon = "uncordon"
)

// phases of an upgrade, in the order in which they run.
var phases = operation.Phases{
	phaseCordon, // no new pods come
	phaseDrain,  // the pods that are there leave
	operation.MachinePhases,
	phaseReady,    // the node is Ready at the new version
	phaseServing,  // the pods that stayed are ready again, and all holds for upgrade.minReady
	phaseLabels,   // the documents' labels and taints are set
	phaseUncordon, // new pods may come
}

// way is one machine's way to its new version.
type way struct {
	c        *Conductor
	machine  config.Machine
	rule     config.UpgradeRule
	progress operation.Progress
	outcome  Outcome

	// own says that the cordon is the rollout's, since when the node is out of service.
	own   bool
	since time.Time
	// onMachine is how many phases the machine carries out.
	onMachine int
	// hurried says whether somebody waits for the end: then a node need not show for long that it serves. Nil is never.
	hurried func() bool
}

// run is the whole way. What it meets decides what is left to do:
//
//	machine's upgrade     node                                   what is done
//	not begun             any, and the rollout is halted         nothing, and the machine is not asked
//	can't be carried out  any                                    fails, and nothing is touched
//	all holds             Ready at the version, takes pods       nothing
//	all holds             otherwise                              waits for it, and uncordons
//	runs                  any                                    is followed, and on as below
//	wants phases          any                                    admission, stage, cordon, drain, upgrade, gate, uncordon
func (w *way) run(ctx context.Context, plan rollout.Plan) error {
	halt, err := w.c.halted(ctx, w.machine, plan)
	if err != nil {
		return err
	}
	if halt != nil {
		return w.failed(ctx, halt)
	}
	seen, node, err := w.look(ctx)
	if err != nil {
		return w.failed(ctx, err)
	}
	wanted := seen.Facts.Plan
	w.onMachine = wanted.Total
	w.outcome.From = versionIn(seen.Facts)
	ours := node.Annotations[drain.CordonedBy] == op
	if !seen.Running() && !operation.Wants(wanted) && !ours && join.NotReady(node, w.c.Version) == "" {
		return w.c.finished(ctx, node)
	}
	if err := w.c.admit(ctx, w.machine, plan, w.progress); err != nil {
		return w.failed(ctx, err)
	}
	release, err := w.c.hold(ctx, w.progress)
	if err != nil {
		return w.failed(ctx, err)
	}
	defer release()
	return w.failed(ctx, w.disrupt(ctx, seen))
}

// look inspects the machine and reads its node, within the budget for transient errors.
func (w *way) look(ctx context.Context) (seen join.Inspection, node *corev1.Node, err error) {
	err = w.job(spec.KindUpgrade, func(ctx context.Context, found join.Inspection) (err error) {
		seen = found
		node, err = w.c.node(ctx, w.machine)
		return err
	}).Run(ctx)
	if err == nil && node == nil {
		err = errclass.Errorf(errclass.Permanent, "the cluster has no node %s: submit workflow join first",
			w.machine.NodeName)
	}
	return seen, node, err
}

// job inspects the machine for an operation of kind, and applies its plan.
func (w *way) job(kind spec.Kind, apply func(context.Context, join.Inspection) error) operation.Job[join.Inspection] {
	return operation.Job[join.Inspection]{
		Machine: w.machine, Limits: w.c.Cluster.Fleet.Limits, Progress: w.progress,
		Inspect: func(ctx context.Context) (join.Inspection, error) { return w.c.Inspect(ctx, w.machine, kind) },
		Apply:   apply,
	}
}

// finished clears what an earlier rollout left at a node that is as it should be.
func (c *Conductor) finished(ctx context.Context, node *corev1.Node) error {
	if _, noted := node.Annotations[Annotation]; !noted {
		return nil
	}
	return c.note(ctx, node.Name, state{State: rollout.Succeeded})
}

// failed notes a failure at the node, for the budget and for the next rollout. What only ends this process is none.
func (w *way) failed(ctx context.Context, err error) error {
	if err == nil || w.c.Leaves(ctx) {
		return err
	}
	stands := state{State: rollout.Failed, Reason: err.Error()}
	if isHalt(err) {
		stands.State = rollout.Skipped
	}
	noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	if noted := w.c.note(noting, w.machine.NodeName, stands); noted != nil {
		return fmt.Errorf("%w; and %w", err, noted)
	}
	return err
}

// noteTimeout bounds what is written down after a cancellation; Argo gives a pod 30 s to end.
const noteTimeout = 5 * time.Second

// disrupt takes the node out of service, has its machine upgraded, and brings it back.
func (w *way) disrupt(ctx context.Context, seen join.Inspection) error {
	if !seen.Running() && wantsBundle(seen) {
		staged, err := w.c.stage(ctx, w.machine, nil, w.progress)
		if err != nil {
			return err
		}
		w.outcome.Phases = staged.Phases
		if seen, _, err = w.look(ctx); err != nil {
			return err
		}
	}
	var serving []corev1.Pod
	err := w.retrying(ctx, func(ctx context.Context) error {
		node, err := w.c.node(ctx, w.machine)
		if err != nil || node == nil {
			return cmp.Or(err, errNoNode)
		}
		if err = w.vacate(ctx, seen, node); err != nil {
			return err
		}
		serving, err = w.c.serving(ctx, node.Name)
		return err
	})
	if err != nil {
		return w.giveBack(ctx, err)
	}
	// From here on nobody's word stops it: what was begun is brought to one of its two ends.
	asked := ctx
	ctx, cancel := w.c.steadfast(ctx)
	defer cancel()
	w.hurried = func() bool { return asked.Err() != nil }
	if err := w.upgrade(ctx, seen, serving); err != nil {
		return w.rollBack(ctx, serving, err)
	}
	if err := w.uncordon(ctx); err != nil {
		return err
	}
	return w.c.note(ctx, w.machine.NodeName, state{State: rollout.Succeeded})
}

// errNoNode: the node went away while its machine was looked at.
var errNoNode = errclass.With(errclass.Permanent, errors.New("its node is gone"))

func (w *way) retrying(ctx context.Context, try func(context.Context) error) error {
	return w.c.retrying(ctx, w.progress, try)
}

func wantsBundle(seen join.Inspection) bool {
	return slices.ContainsFunc(operation.WantedPhases(seen.Facts.Plan),
		func(phase string) bool { return phase == "bundle" || phase == "images" })
}

// steadfast is a context that goes on after a cancellation, unless that only ends this process.
func (c *Conductor) steadfast(ctx context.Context) (context.Context, context.CancelFunc) {
	on, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		if c.Leaves(ctx) {
			cancel(context.Cause(ctx))
		}
	})
	return on, func() { forget(); cancel(nil) }
}

func (w *way) drainer() drain.Drainer {
	policy := w.c.Cluster.Fleet.Drain
	policy.Timeout = w.rule.DrainTimeout
	return drain.Drainer{Client: w.c.Target.Client, Policy: policy}
}

// in returns the progress of a phase in the cluster.
func (w *way) in(phase string) operation.Progress { return phases.In(phase, w.onMachine, w.progress) }

// vacate cordons the node and drains it. A machine whose upgrade has begun on it was drained before.
func (w *way) vacate(ctx context.Context, seen join.Inspection, node *corev1.Node) error {
	with := w.drainer()
	stands := stateOf(node)
	w.own, w.since = node.Annotations[drain.CordonedBy] == op, stands.Cordoned
	if seen.Running() {
		return nil
	}
	evicts := *w.rule.Drain
	if evicts {
		operation.Reportf(w.in(phaseCordon), "trying the evictions of node %s", node.Name)
		found, err := with.Preflight(ctx, node, nil)
		// Who forces a drain takes also what refuses it, once the node is cordoned.
		if err == nil && w.rule.OnDrainTimeout != config.DrainForce {
			err = found.Refusal()
		}
		if err != nil {
			return w.undrained(ctx, with, err)
		}
	}
	operation.Reportf(w.in(phaseCordon), "keeping new pods away from node %s", node.Name)
	own, err := with.Cordon(ctx, node.Name, op)
	if err != nil {
		return err
	}
	w.own = own
	if own && w.since.IsZero() {
		w.since = time.Now().UTC()
	}
	if err := w.c.note(ctx, node.Name, state{State: rollout.Working, Cordoned: w.since}); err != nil {
		return err
	}
	if !evicts {
		return nil
	}
	count, err := with.Drain(ctx, node.Name, seen.Facts.Kubelet.Active, w.in(phaseDrain))
	if err != nil {
		return w.undrained(ctx, with, err)
	}
	if count > 0 {
		w.outcome.Done = append(w.outcome.Done, fmt.Sprintf("%d pods evicted", count))
	}
	return nil
}

// undrained does what the policy says with a node whose pods don't leave. A cancellation is no reason to delete any.
func (w *way) undrained(ctx context.Context, with drain.Drainer, cause error) error {
	if ctx.Err() != nil || errclass.IsTransient(cause) {
		return cause
	}
	switch w.rule.OnDrainTimeout {
	case config.DrainSkip:
		return &rollout.Halt{Reason: cause.Error()}
	case config.DrainForce:
		count, err := with.Delete(ctx, w.machine.NodeName, w.in(phaseDrain))
		if err != nil {
			return fmt.Errorf("%w; and %w", cause, err)
		}
		w.outcome.Done = append(w.outcome.Done, fmt.Sprintf("%d pods deleted that did not leave (%v)", count, cause))
		return nil
	}
	return cause
}

// upgrade has the machine carry out its upgrade, as it was seen before, and waits until its node serves again. The
// machine itself finds out what is left to do, so it is looked at anew only after something went wrong.
func (w *way) upgrade(ctx context.Context, seen join.Inspection, serving []corev1.Pod) error {
	job := w.job(spec.KindUpgrade, func(ctx context.Context, found join.Inspection) error {
		if !found.HasWork() {
			return nil
		}
		status, err := w.c.Carry(ctx, found, phases, w.progress)
		w.outcome.Changed = w.outcome.Changed || status.Changed
		w.outcome.Phases = append(w.outcome.Phases, status.Phases...)
		if err == nil {
			w.outcome.Done = append(w.outcome.Done, operation.Done(status))
		}
		return err
	})
	job.Known = &seen
	if err := job.Run(ctx); err != nil {
		return err
	}
	node, err := w.backInService(ctx, w.c.Version, serving, w.in)
	if err != nil {
		return err
	}
	operation.Reportf(w.in(phaseLabels), "setting labels and taints")
	marks, err := w.c.Mark(ctx, w.machine, node)
	w.outcome.Done = append(w.outcome.Done, marks...)
	return err
}

// uncordon lets the node take pods again, if it was the rollout that kept them away.
func (w *way) uncordon(ctx context.Context) error {
	operation.Reportf(w.in(phaseUncordon), "node %s takes pods again", w.machine.NodeName)
	err := w.retrying(ctx, func(ctx context.Context) error {
		_, err := w.drainer().Uncordon(ctx, w.machine.NodeName, op)
		return err
	})
	if w.own && !w.since.IsZero() {
		w.outcome.Unavailable = time.Since(w.since).Seconds()
	}
	w.outcome.Changed = true
	return err
}

// giveBack has a node that was not touched yet take pods again, and adds to the failure what it is now.
func (w *way) giveBack(ctx context.Context, failure error) error {
	if !w.own || w.c.Leaves(ctx) {
		return failure
	}
	name := w.machine.NodeName
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
	defer cancel()
	undone, err := w.drainer().Uncordon(limited, name, op)
	switch {
	case err != nil:
		return fmt.Errorf("%w; and node %s stays cordoned: %w; give it back with `kubectl uncordon %s`", failure, name,
			err, name)
	case undone:
		return fmt.Errorf("%w; node %s takes pods again", failure, name)
	}
	return failure
}

// giveBackTimeout bounds the uncordoning after a cancellation; Argo gives a pod 30 s to end.
const giveBackTimeout = 10 * time.Second
