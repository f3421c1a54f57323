package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// afterFailure rolls a machine back whose upgrade failed, and returns an error with the failure and the result:
//
//	nothing was kept                   the machine was not touched: the node is uncordoned
//	the kept files are restored        Ready again at the old version: the node is uncordoned
//	anything else                      the node stays cordoned, and the error has the way out
func (w *machineUpgrade) afterFailure(ctx context.Context, serving []corev1.Pod, failure error) error {
	if w.upgrader.Leaves(ctx) {
		return failure
	}
	if !w.upgrader.Cluster.Fleet.Upgrade.Rollback {
		return fmt.Errorf("%w; node %s stays cordoned and is not rolled back, since upgrade.rollback is false", failure,
			w.machine.NodeName)
	}
	operation.Reportf(w.progress, "the upgrade failed: restoring the old version")
	version, err := w.restore(ctx)
	if err == nil && version != "" {
		_, err = w.waitServing(ctx, version, serving, w.unnumbered)
	}
	// The machine's present state comes first: of a long message only the beginning is shown.
	if err != nil {
		return fmt.Errorf("node %s stays cordoned, since its rollback failed; repair the machine and submit again: "+
			"%w\nthe upgrade before it: %w", w.machine.NodeName, err, failure)
	}
	if version == "" {
		return w.uncordonUntouched(ctx, failure)
	}
	w.outcome.RolledBack = true
	return fmt.Errorf("%w: %w", w.uncordonUntouched(ctx, fmt.Errorf("rolled back, Ready at %s", version)), failure)
}

// unnumbered reports a phase of a rollback that follows a failed upgrade, whose phases were counted already.
func (w *machineUpgrade) unnumbered(string) operation.Progress { return w.progress }

// restore has the machine restore the files that it kept, and returns the version that it then has; "" when it was not
// touched.
func (w *machineUpgrade) restore(ctx context.Context) (version string, err error) {
	job := w.job(spec.KindRollback, func(ctx context.Context, found join.Inspection) error {
		restoring := operation.ProgressFunc(func(event operation.Event) {
			event.Detail = "restoring: " + event.Detail
			w.progress.Report(event)
		})
		_, err := w.upgrader.Execute(ctx, found, operation.Phases{operation.MachinePhases}, restoring)
		if err != nil {
			return err
		}
		after, err := w.upgrader.Inspect(ctx, w.machine, spec.KindRollback)
		if version = versionIn(after.Facts); err != nil {
			return err
		}
		return w.restoreSocket(ctx)
	})
	inspect := job.Inspect
	job.Inspect = func(ctx context.Context) (join.Inspection, error) {
		found, err := inspect(ctx)
		if err == nil && w.untouched(found) {
			err = operation.ErrNothingToDo
		}
		return found, err
	}
	err = w.upgrader.RunJob(ctx, job)
	return version, err
}

// untouched reports whether the machine has nothing to restore: it kept nothing, and runs the old version.
func (w *machineUpgrade) untouched(found join.Inspection) bool {
	facts := found.Facts
	return facts.Plan.Error != nil && !found.Running() && facts.Plan.Error.Phase == "preflight" &&
		facts.Record != nil && facts.Record.Version != w.upgrader.Version
}

// socketAnnotation is where kubeadm notes at a node how its container runtime is reached. Since 1.34 an upgrade moves
// it to a file on the machine, which older ones do not have: a machine that is rolled back has to find it at its node
// again.
const socketAnnotation = "kubeadm.alpha.kubernetes.io/cri-socket"

func (w *machineUpgrade) restoreSocket(ctx context.Context) error {
	node, err := w.upgrader.node(ctx, w.machine)
	if err != nil || node == nil || node.Annotations[socketAnnotation] != "" {
		return err
	}
	socket := cmp.Or(w.upgrader.Cluster.Settings(w.machine).JoinNode.NodeRegistration.CRISocket, defaultSocket)
	if !strings.Contains(socket, "://") {
		socket = "unix://" + socket
	}
	return w.upgrader.annotate(ctx, node.Name, socketAnnotation, socket)
}

// defaultSocket is where the containerd that Argosy installs answers.
const defaultSocket = "/run/containerd/containerd.sock"

// Rollback takes a machine back to its state before its last upgrade, also long after that: it cordons and drains its
// node as an upgrade does, and waits until it serves again. It is an error where nothing was kept. limiter has one
// place, so that one machine after another is out of service; after a failure in this process the others are left, and
// so are those that have not begun when a person aborts. The Lease is kept between machines, as in a rollout, so that
// such a request holds for all of them: callers end with Clean or End.
func (u *Upgrader) Rollback(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
	progress operation.Progress,
) (Outcome, error) {
	started := time.Now()
	w := &machineUpgrade{
		upgrader: u, machine: machine, rule: u.Cluster.UpgradeRuleFor(machine), progress: progress,
		outcome: Outcome{Machine: machine.Name, Node: machine.NodeName},
	}
	leave, err := limiter.EnterReporting(ctx, progress)
	if err == nil {
		defer leave()
		err = w.rollBack(ctx)
		u.releasePod(ctx, machine)
	}
	w.outcome.Seconds = time.Since(started).Seconds()
	if halt, left := asHalt(err); left && !halt.Allowed {
		w.outcome.Left = halt.Reason
		return w.outcome, nil
	}
	if failed := u.rollbackFailed.Load(); err == nil && failed != nil && *failed == machine.Name {
		u.rollbackFailed.Store(nil)
	}
	if err != nil {
		u.rollbackFailed.CompareAndSwap(nil, &machine.Name)
		return w.outcome, fmt.Errorf("rolling back machine %q (%s): %w", machine.Name, machine.Address, err)
	}
	return w.outcome, nil
}

// rollBack rolls the machine back, or finishes a rollback that was interrupted: then its node may only be cordoned yet.
func (w *machineUpgrade) rollBack(ctx context.Context) (err error) {
	seen, err := w.inspectForRollback(ctx)
	if err != nil {
		return err
	}
	node, err := w.upgrader.node(ctx, w.machine)
	if err != nil || node == nil {
		return cmp.Or(err, errNoNode)
	}
	if !seen.HasWork() && !drain.Owns(node, cordonOwner) {
		return nil
	}
	if failed := w.upgrader.rollbackFailed.Load(); failed != nil && *failed != w.machine.Name &&
		!seen.Running() {
		return &rollout.Halt{Reason: "the rollback of " + *failed + " failed"}
	}
	w.onMachine = seen.Facts.Plan.Total
	inspected := time.Now()
	release, err := w.upgrader.holdLease(ctx, w.progress)
	if err != nil {
		return err
	}
	defer func() {
		err = w.noteRolledBack(ctx, err)
		release()
	}()
	if err := w.awaitRollback(ctx, seen, node); err != nil {
		return err
	}
	if time.Since(inspected) > admitEvery {
		if seen, err = w.inspectForRollback(ctx); err != nil {
			return err
		}
	}
	if node, err = w.upgrader.node(ctx, w.machine); err != nil || node == nil {
		return cmp.Or(err, errNoNode)
	}
	if !seen.HasWork() && !drain.Owns(node, cordonOwner) {
		return nil
	}
	return w.drainAndRestore(ctx, seen, node)
}

// drainAndRestore takes the node out of service, restores its machine, and uncordons it once it serves again.
func (w *machineUpgrade) drainAndRestore(ctx context.Context, seen join.Inspection, node *corev1.Node) error {
	if err := w.cordonAndDrain(ctx, seen, node); err != nil {
		return w.uncordonUntouched(ctx, err)
	}
	serving, err := w.upgrader.serving(ctx, node.Name)
	if err != nil {
		return w.uncordonUntouched(ctx, err)
	}
	ctx, cancel := w.upgrader.uncancelled(ctx)
	defer cancel()
	if w.outcome.Version, err = w.restore(ctx); err != nil {
		return err
	}
	if _, err := w.waitServing(ctx, w.outcome.Version, serving, w.in); err != nil {
		return err
	}
	w.outcome.Done = append(w.outcome.Done, "rolled back")
	return w.uncordon(ctx)
}

// inspectForRollback inspects the machine and notes its version.
func (w *machineUpgrade) inspectForRollback(ctx context.Context) (join.Inspection, error) {
	seen, err := w.inspectFor(ctx, spec.KindRollback)
	if err == nil {
		w.outcome.From = versionIn(seen.Facts)
		w.outcome.Version = w.outcome.From
	}
	return seen, err
}

// awaitRollback waits while a person has paused the rollout; the error is a *rollout.Halt where it was aborted. A
// machine that is at work already goes on.
func (w *machineUpgrade) awaitRollback(ctx context.Context, seen join.Inspection, node *corev1.Node) error {
	recorded := stateOf(node)
	if seen.Running() || recorded.Rollout == w.upgrader.Rollout && recorded.State == rollout.Working {
		return nil
	}
	return w.upgrader.awaitRequest(ctx, w.progress)
}

// noteRolledBack notes at the node that its machine is not at work any more, and returns the error of the rollback.
func (w *machineUpgrade) noteRolledBack(ctx context.Context, err error) error {
	if w.upgrader.Leaves(ctx) {
		return err
	}
	recorded := state{State: rollout.Left, Reason: "was rolled back"}
	if err != nil {
		recorded.Reason = err.Error()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	return errors.Join(err, w.upgrader.note(ctx, w.machine.NodeName, recorded))
}
