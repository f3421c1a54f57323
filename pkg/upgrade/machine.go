package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/internal/count"
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

// machineUpgrade is the upgrade or the rollback of one machine.
type machineUpgrade struct {
	upgrader *Upgrader
	machine  config.Machine
	rule     config.UpgradeRule
	progress operation.Progress
	outcome  Outcome
	// plan of the rollout; nil for a rollback.
	plan *rollout.Plan

	// own is true where the cordon is the rollout's; since is when it was made.
	own   bool
	since time.Time
	// noted is true where this run has noted the end of the machine before.
	noted bool
	// onMachine is how many phases the machine carries out.
	onMachine int
	// cancelled reports whether the upgrade was cancelled: then minReady is not waited for. Nil is never.
	cancelled func() bool
}

// run upgrades the machine, or finishes an upgrade that was interrupted:
//
//	machine's upgrade     node                              action
//	failed in this run    any                               fails again, and the machine is not asked
//	not begun             any, and the rollout is halted    nothing, and the machine is not asked
//	can't be carried out  any                               fails, and nothing is touched
//	all holds             Ready at the version, takes pods  nothing
//	all holds             otherwise                         waits for it, and uncordons
//	runs                  any                               is followed, and on as below
//	wants phases          any                               admission, stage, cordon, drain, upgrade, gate, uncordon
//
// It is inspected again after each wait: for the Lease, which another rollout had, and for its turn.
func (w *machineUpgrade) run(ctx context.Context) error {
	stands, halt, err := w.upgrader.standing(ctx, w.machine, w.plan)
	if err != nil {
		return err
	}
	w.noted = stands.State != rollout.Pending && stands.State != rollout.Working
	switch {
	case stands.State == rollout.Failed:
		return errclass.Errorf(errclass.Permanent, "it has failed in this run: %s; mend it and retry the workflow, or "+
			"submit again", stands.Reason)
	case halt != nil:
		return w.noteFailure(ctx, halt)
	}
	seen, node, err := w.inspect(ctx)
	if err != nil {
		return w.noteFailure(ctx, err)
	}
	w.onMachine = seen.Facts.Plan.Total
	w.outcome.From = versionIn(seen.Facts)
	ours := drain.Owns(node, cordonOwner)
	if !ours && w.finished(seen, node) {
		return w.upgrader.noteSuccess(ctx, node)
	}
	inspected := time.Now()
	release := func() {}
	defer func() { release() }()
	for _, wait := range []func() error{
		func() error {
			held, err := w.upgrader.holdLease(ctx, w.progress)
			if err == nil {
				release = held
			}
			return err
		},
		func() error { return w.upgrader.admit(ctx, w.machine, w.plan, operation.Waiting(w.progress)) },
		func() error { return w.upgrader.awaitLease(ctx, w.progress) }, // it may be lost meanwhile
	} {
		if err := wait(); err != nil {
			return w.noteFailure(ctx, err)
		}
		if time.Since(inspected) <= admitEvery {
			continue
		}
		if seen, node, err = w.inspect(ctx); err != nil {
			return w.noteFailure(ctx, err)
		}
		inspected = time.Now()
		if !drain.Owns(node, cordonOwner) && w.finished(seen, node) {
			return w.upgrader.note(ctx, node.Name, state{State: rollout.Succeeded})
		}
	}
	return w.noteFailure(ctx, w.disrupt(ctx, seen))
}

// finished reports whether nothing has to be done on the machine, and its node is Ready at the version.
func (w *machineUpgrade) finished(seen join.Inspection, node *corev1.Node) bool {
	return !seen.Running() && !operation.Wants(seen.Facts.Plan) && join.NotReady(node, w.upgrader.Version) == ""
}

// inspect inspects the machine and reads its node, within the budget for transient errors.
func (w *machineUpgrade) inspect(ctx context.Context) (seen join.Inspection, node *corev1.Node, err error) {
	err = w.job(spec.KindUpgrade, func(ctx context.Context, found join.Inspection) (err error) {
		seen = found
		node, err = w.upgrader.node(ctx, w.machine)
		return err
	}).Run(ctx)
	if err == nil && node == nil {
		err = errclass.Errorf(errclass.Permanent, "reading node %q: the cluster has none of that name: submit "+
			"workflow join first", w.machine.NodeName)
	}
	return seen, node, err
}

// inspectFor inspects the machine for an operation of kind, which must be possible there, within the budget for
// transient errors.
func (w *machineUpgrade) inspectFor(ctx context.Context, kind spec.Kind) (seen join.Inspection, err error) {
	err = w.job(kind, func(_ context.Context, found join.Inspection) error {
		seen = found
		return nil
	}).Run(ctx)
	return seen, err
}

// job inspects the machine for an operation of kind, and applies its plan.
func (w *machineUpgrade) job(kind spec.Kind, apply func(context.Context,
	join.Inspection) error,
) operation.Job[join.Inspection] {
	return operation.Job[join.Inspection]{
		Machine: w.machine, Limits: w.upgrader.Cluster.Fleet.Limits, Progress: w.progress,
		Inspections: &w.upgrader.inspections,
		Inspect: func(ctx context.Context) (join.Inspection, error) {
			return w.upgrader.Inspect(ctx, w.machine, kind)
		},
		Apply: apply,
	}
}

// noteSuccess notes a success at an upgraded node where an earlier rollout left another state.
func (u *Upgrader) noteSuccess(ctx context.Context, node *corev1.Node) error {
	if _, noted := node.Annotations[Annotation]; !noted {
		return nil
	}
	return u.note(ctx, node.Name, state{State: rollout.Succeeded})
}

// noteFailure notes a failure at the node, for the budget and for the next rollout, and returns it. The end of this
// process alone is no failure.
func (w *machineUpgrade) noteFailure(ctx context.Context, err error) error {
	halt, isHalt := asHalt(err)
	if err == nil || w.upgrader.Leaves(ctx) || isHalt && w.noted {
		return err
	}
	recorded := state{State: rollout.Failed, Reason: err.Error()}
	switch {
	case isHalt && halt.Allowed:
		recorded.State = rollout.Skipped
	case isHalt:
		recorded.State = rollout.Left
	}
	noted := ctx.Err()
	if noted == nil {
		noted = w.upgrader.note(ctx, w.machine.NodeName, recorded)
	}
	if ctx.Err() != nil {
		noting, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
		defer cancel()
		noted = w.upgrader.note(noting, w.machine.NodeName, recorded)
	}
	if noted != nil {
		w.upgrader.keep(w.machine.NodeName, recorded)
		return fmt.Errorf("%w; and %w", err, noted)
	}
	return err
}

// noteTimeout bounds the note after a cancellation; Argo gives a pod 30 s to end.
const noteTimeout = 5 * time.Second

// disrupt cordons and drains the node, has its machine upgraded, and uncordons it.
func (w *machineUpgrade) disrupt(ctx context.Context, seen join.Inspection) error {
	if !seen.Running() && wantsBundle(seen) {
		staged, err := w.upgrader.stage(ctx, w.machine, nil, w.progress)
		if err != nil {
			return err
		}
		w.outcome.Phases = staged.Phases
		if seen, _, err = w.inspect(ctx); err != nil {
			return err
		}
	}
	var serving []corev1.Pod
	err := w.retrying(ctx, func(ctx context.Context) error {
		node, err := w.upgrader.node(ctx, w.machine)
		if err != nil || node == nil {
			return cmp.Or(err, errNoNode)
		}
		if err = w.cordonAndDrain(ctx, seen, node); err != nil {
			return err
		}
		serving, err = w.upgrader.serving(ctx, node.Name)
		return err
	})
	if err != nil {
		return w.uncordonUntouched(ctx, err)
	}
	// Past this point cancellation is ignored: the machine is upgraded or rolled back.
	asked := ctx
	ctx, cancel := w.upgrader.uncancelled(ctx)
	defer cancel()
	w.cancelled = func() bool { return asked.Err() != nil }
	if err := w.upgrade(ctx, seen, serving); err != nil {
		return w.afterFailure(ctx, serving, err)
	}
	if err := w.uncordon(ctx); err != nil {
		return err
	}
	return w.upgrader.note(ctx, w.machine.NodeName, state{State: rollout.Succeeded})
}

// errNoNode: the node went away while its machine was inspected.
var errNoNode = errclass.With(errclass.Permanent, errors.New("its node was deleted meanwhile: submit workflow join"))

func (w *machineUpgrade) retrying(ctx context.Context, attempt func(context.Context) error) error {
	return w.upgrader.retrying(ctx, w.progress, attempt)
}

func wantsBundle(seen join.Inspection) bool {
	return slices.ContainsFunc(operation.WantedPhases(seen.Facts.Plan),
		func(phase string) bool { return phase == "bundle" || phase == "images" })
}

// uncancelled returns a context that outlives a cancellation, unless that only ends this process.
func (u *Upgrader) uncancelled(ctx context.Context) (context.Context, context.CancelFunc) {
	on, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		if u.Leaves(ctx) {
			cancel(context.Cause(ctx))
		}
	})
	return on, func() { forget(); cancel(nil) }
}

func (w *machineUpgrade) drainer() drain.Drainer {
	policy := w.upgrader.Cluster.Fleet.Drain
	policy.Timeout = w.rule.DrainTimeout
	return drain.Drainer{Client: w.upgrader.Target.Client, Policy: policy}
}

// in returns the progress of a phase in the cluster.
func (w *machineUpgrade) in(phase string) operation.Progress {
	return phases.In(phase, w.onMachine, w.progress)
}

// cordonAndDrain cordons the node and drains it. A machine whose upgrade has begun on it was drained before.
func (w *machineUpgrade) cordonAndDrain(ctx context.Context, seen join.Inspection, node *corev1.Node) error {
	with := w.drainer()
	recorded := stateOf(node)
	w.own, w.since = drain.Owns(node, cordonOwner), recorded.Cordoned
	if seen.Running() {
		return nil
	}
	evicts := *w.rule.Drain
	if evicts {
		operation.Reportf(w.in(phaseCordon), "trying the evictions of node %s by dry run", node.Name)
		found, err := with.Preflight(ctx, node, nil)
		// A forced drain goes on: the pods that refuse it are deleted once the node is cordoned.
		if err == nil && w.rule.OnDrainTimeout != config.DrainForce {
			err = found.Refusal()
		}
		if err != nil {
			return w.onDrainFailure(ctx, with, err)
		}
	}
	operation.Reportf(w.in(phaseCordon), "cordoning node %s", node.Name)
	if err := with.Adopt(ctx, node.Name, waveOwner, cordonOwner); err != nil {
		return err
	}
	own, err := with.Cordon(ctx, node.Name, cordonOwner)
	if err != nil {
		return err
	}
	w.own = own
	if own && w.since.IsZero() {
		w.since = time.Now().UTC()
	}
	if err := w.upgrader.note(ctx, node.Name, state{State: rollout.Working, Cordoned: w.since}); err != nil {
		return err
	}
	if !evicts {
		return nil
	}
	if err := w.cordonWave(ctx, with); err != nil {
		return err
	}
	return w.drain(ctx, with, seen, node)
}

// drain evicts the pods of the cordoned node, and waits until their volumes are detached.
func (w *machineUpgrade) drain(ctx context.Context, with drain.Drainer, seen join.Inspection, node *corev1.Node) error {
	evicted, err := with.Drain(ctx, node.Name, seen.Facts.Kubelet.Active, w.in(phaseDrain))
	if err != nil {
		return w.onDrainFailure(ctx, with, err)
	}
	if evicted > 0 {
		w.outcome.Done = append(w.outcome.Done, count.Of(evicted, "pod")+" evicted")
	}
	if !seen.Facts.Kubelet.Active { // nothing is unmounted, and so nothing detached
		return nil
	}
	attached, err := with.AwaitDetached(ctx, node.Name, w.in(phaseDrain))
	if len(attached) > 0 {
		w.outcome.Done = append(w.outcome.Done, "volumes still attached: "+strings.Join(attached, ", "))
	}
	return err
}

// onDrainFailure applies onDrainTimeout to a node whose pods do not leave. A cancellation never deletes pods.
func (w *machineUpgrade) onDrainFailure(ctx context.Context, with drain.Drainer, cause error) error {
	if ctx.Err() != nil || errclass.IsTransient(cause) {
		return cause
	}
	switch w.rule.OnDrainTimeout {
	case config.DrainSkip:
		return &rollout.Halt{Reason: cause.Error(), Allowed: true}
	case config.DrainForce:
		deleted, err := with.Delete(ctx, w.machine.NodeName, w.in(phaseDrain))
		if err != nil {
			return fmt.Errorf("%w; and %w", cause, err)
		}
		w.outcome.Done = append(w.outcome.Done, fmt.Sprintf("%s deleted that did not leave (%v)",
			count.Of(deleted, "pod"), cause))
		return nil
	}
	return cause
}

// upgrade has the machine carry out its upgrade, as it was seen before, and waits until its node serves again. The
// machine itself finds the phases that are left, so it is inspected again only after an error.
func (w *machineUpgrade) upgrade(ctx context.Context, seen join.Inspection, serving []corev1.Pod) error {
	job := w.job(spec.KindUpgrade, func(ctx context.Context, found join.Inspection) error {
		if !found.HasWork() {
			return nil
		}
		status, err := w.upgrader.Execute(ctx, found, phases, w.progress)
		w.outcome.Changed = w.outcome.Changed || status.Changed
		w.outcome.Phases = append(w.outcome.Phases, status.Phases...)
		if err == nil {
			w.outcome.Done = append(w.outcome.Done, operation.Done(status))
		}
		return err
	})
	job.Known = &seen
	if err := w.upgrader.RunJob(ctx, job); err != nil {
		return err
	}
	node, err := w.waitServing(ctx, w.upgrader.Version, serving, w.in)
	if err != nil {
		return err
	}
	operation.Reportf(w.in(phaseLabels), "setting labels and taints")
	marks, err := w.upgrader.Mark(ctx, w.machine, node)
	w.outcome.Done = append(w.outcome.Done, marks...)
	return err
}

// uncordon uncordons the node, if it was the rollout that cordoned it.
func (w *machineUpgrade) uncordon(ctx context.Context) error {
	operation.Reportf(w.in(phaseUncordon), "uncordoning node %s", w.machine.NodeName)
	err := w.retrying(ctx, func(ctx context.Context) error {
		_, err := w.drainer().Uncordon(ctx, w.machine.NodeName, cordonOwner)
		return err
	})
	if w.own && !w.since.IsZero() {
		w.outcome.Unavailable = time.Since(w.since).Seconds()
	}
	w.outcome.Changed = true
	return err
}

// uncordonUntouched uncordons a node whose machine was not touched, and adds to the failure whether it takes pods
// again.
func (w *machineUpgrade) uncordonUntouched(ctx context.Context, failure error) error {
	if !w.own || w.upgrader.Leaves(ctx) {
		return failure
	}
	return w.drainer().UncordonAfter(ctx, w.machine.NodeName, cordonOwner, failure)
}
