package upgrade

import (
	"context"
	"fmt"
	"time"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
)

// waveOwner is the value of drain.CordonedBy at nodes of machines that have not begun, and whose wave has.
const waveOwner = "upgrade-wave"

// cordonWave cordons the nodes of the machines that are begun next in the same wave, before this one is drained: its
// pods would move to them, and move again. Each such machine takes its cordon over when it begins.
func (w *machineUpgrade) cordonWave(ctx context.Context, with drain.Drainer) error {
	u := w.upgrader
	if w.plan == nil {
		return nil
	}
	u.admission.Lock()
	defer u.admission.Unlock()
	now, err := u.situation(ctx, w.plan, 0, time.Now())
	if err != nil {
		return err
	}
	for _, name := range now.Next(w.machine.Name) {
		machine, known := u.Cluster.Machine(name)
		if !known || !*u.Cluster.UpgradeRuleFor(machine).Drain {
			continue
		}
		if _, err := with.Cordon(ctx, machine.NodeName, waveOwner); err != nil {
			return err
		}
	}
	return nil
}

// uncordonPaused takes the cordon of the wave back from a machine that waits in a paused rollout, which may last. Where
// it fails, the node stays cordoned until the rollout goes on or ends.
func (u *Upgrader) uncordonPaused(ctx context.Context, machine config.Machine) {
	u.admission.Lock()
	defer u.admission.Unlock()
	_, _ = drain.Drainer{Client: u.Target.Client}.Uncordon(ctx, machine.NodeName, waveOwner)
}

// uncordonUnbegun takes the cordon of the wave back from a machine that was not begun, and returns failure with that.
func (w *machineUpgrade) uncordonUnbegun(ctx context.Context, failure error) error {
	if w.upgrader.Leaves(ctx) {
		return failure
	}
	w.upgrader.admission.Lock()
	defer w.upgrader.admission.Unlock()
	if failure == nil {
		return w.retrying(ctx, func(ctx context.Context) error {
			_, err := w.drainer().Uncordon(ctx, w.machine.NodeName, waveOwner)
			return err
		})
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	// Where it fails, step clean does it.
	if undone, err := w.drainer().Uncordon(ctx, w.machine.NodeName, waveOwner); err == nil && undone {
		return fmt.Errorf("%w; node %s is uncordoned", failure, w.machine.NodeName)
	}
	return failure
}
