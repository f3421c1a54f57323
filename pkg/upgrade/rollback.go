package upgrade

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// rollBack brings a machine whose upgrade failed back to what it was, and says both. What the machine tells decides:
//
//	nothing was kept                   it was not touched: the node takes pods again
//	what was kept is put back          Ready again at the old version: the node takes pods again
//	anything else                      the node stays cordoned, and the error says what to do
func (w *way) rollBack(ctx context.Context, serving []corev1.Pod, failure error) error {
	if w.c.Leaves(ctx) {
		return failure
	}
	if !w.c.Cluster.Fleet.Upgrade.Rollback {
		return fmt.Errorf("%w; node %s stays as it is and cordoned, since upgrade.rollback is false", failure,
			w.machine.NodeName)
	}
	operation.Reportf(w.progress, "it did not come up: putting back what was there before")
	version, err := w.putBack(ctx)
	if err == nil && version != "" {
		_, err = w.backInService(ctx, version, serving, w.unnumbered)
	}
	// What has become of the machine comes first: of a long message only the beginning is shown.
	if err != nil {
		return fmt.Errorf("it could not be put back, and node %s stays cordoned; mend the machine and submit again: "+
			"%w\nit was to be put back because of: %w", w.machine.NodeName, err, failure)
	}
	if version == "" {
		return w.giveBack(ctx, failure)
	}
	w.outcome.RolledBack = true
	return fmt.Errorf("%w: %w", w.giveBack(ctx, fmt.Errorf("it was put back and is Ready at %s", version)), failure)
}

// unnumbered reports a phase of a rollback that follows a failed upgrade, whose phases were counted already.
func (w *way) unnumbered(string) operation.Progress { return w.progress }

// putBack has the machine put back what was kept, and returns the version that it then has; "" when it was not touched.
func (w *way) putBack(ctx context.Context) (version string, err error) {
	job := w.job(spec.KindRollback, func(ctx context.Context, found join.Inspection) error {
		putting := operation.ProgressFunc(func(event operation.Event) {
			event.Detail = "putting back: " + event.Detail
			w.progress.Report(event)
		})
		_, err := w.c.Carry(ctx, found, operation.Phases{operation.MachinePhases}, putting)
		if err != nil {
			return err
		}
		after, err := w.c.Inspect(ctx, w.machine, spec.KindRollback)
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
	err = job.Run(ctx)
	return version, err
}

// untouched reports whether the machine has nothing to put back: it kept nothing, and runs the old version.
func (w *way) untouched(found join.Inspection) bool {
	facts := found.Facts
	return facts.Plan.Error != nil && !found.Running() && facts.Plan.Error.Phase == "preflight" &&
		facts.Record != nil && facts.Record.Version != w.c.Version
}

// socketAnnotation is where kubeadm notes at a node how its container runtime is reached. Since 1.34 an upgrade moves
// it to a file on the machine, which older ones do not have: a machine that is put back has to find it at its node
// again.
const socketAnnotation = "kubeadm.alpha.kubernetes.io/cri-socket"

func (w *way) restoreSocket(ctx context.Context) error {
	node, err := w.c.node(ctx, w.machine)
	if err != nil || node == nil || node.Annotations[socketAnnotation] != "" {
		return err
	}
	socket := cmp.Or(w.c.Cluster.Settings(w.machine).JoinNode.NodeRegistration.CRISocket, defaultSocket)
	if !strings.Contains(socket, "://") {
		socket = "unix://" + socket
	}
	return w.c.annotate(ctx, node.Name, socketAnnotation, socket)
}

// defaultSocket is where the containerd that Argosy installs answers.
const defaultSocket = "/run/containerd/containerd.sock"

// PutBack takes a machine back to what it was before its last upgrade, also long after that: it cordons and drains its
// node as an upgrade does, and waits until it serves again. It is an error where nothing was kept.
func (c *Conductor) PutBack(ctx context.Context, machine config.Machine, progress operation.Progress) (Outcome,
	error) {
	started := time.Now()
	w := &way{c: c, machine: machine, rule: c.Cluster.UpgradeRuleFor(machine), progress: progress,
		outcome: Outcome{Machine: machine.Name, Node: machine.NodeName}}
	err := w.backwards(ctx)
	c.letGo(ctx, machine)
	w.outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return w.outcome, fmt.Errorf("putting back machine %q (%s): %w", machine.Name, machine.Address, err)
	}
	return w.outcome, nil
}

func (w *way) backwards(ctx context.Context) error {
	var seen join.Inspection
	err := w.job(spec.KindRollback, func(_ context.Context, found join.Inspection) error {
		seen = found
		return nil
	}).Run(ctx)
	if err != nil {
		return err
	}
	w.outcome.From = versionIn(seen.Facts)
	w.outcome.Version = w.outcome.From
	if !seen.Running() && !operation.Wants(seen.Facts.Plan) {
		return nil
	}
	w.onMachine = seen.Facts.Plan.Total
	release, err := w.c.hold(ctx, w.progress)
	if err != nil {
		return err
	}
	defer func() {
		release()
		// It is no part of a rollout, so nobody else gives it back; left as it is, it expires.
		_ = w.c.yield(context.WithoutCancel(ctx))
	}()
	node, err := w.c.node(ctx, w.machine)
	if err != nil || node == nil {
		return cmp.Or(err, errNoNode)
	}
	if err := w.vacate(ctx, seen, node); err != nil {
		return w.giveBack(ctx, err)
	}
	serving, err := w.c.serving(ctx, node.Name)
	if err != nil {
		return w.giveBack(ctx, err)
	}
	ctx, cancel := w.c.steadfast(ctx)
	defer cancel()
	if w.outcome.Version, err = w.putBack(ctx); err != nil {
		return err
	}
	if _, err := w.backInService(ctx, w.outcome.Version, serving, w.in); err != nil {
		return err
	}
	w.outcome.Done = append(w.outcome.Done, "put back")
	return w.uncordon(ctx)
}
