package upgrade

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/conduct"
	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/node/spec"
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
		return fmt.Errorf("%w; node %s stays as it is and cordoned, since upgrade.rollback is false", failure, w.machine.NodeName)
	}
	w.report("it did not come up: putting back what was there before")
	version, err := w.putBack(ctx)
	if err == nil && version != "" {
		_, err = w.c.backInService(ctx, w.machine.NodeName, version, serving, w.report, w.report)
	}
	if err != nil {
		return fmt.Errorf("%w\nand it could not be put back: %w\nnode %s stays cordoned; mend the machine and submit again", failure, err, w.machine.NodeName)
	}
	if version != "" {
		w.outcome.RolledBack = true
		failure = fmt.Errorf("%w\nthe machine was put back and is Ready at %s", failure, version)
	}
	return w.giveBack(ctx, failure)
}

// putBack has the machine put back what was kept, and returns the version that it then has; "" when it was not touched.
func (w *way) putBack(ctx context.Context) (version string, err error) {
	err = conduct.Retrying(ctx, w.c.Cluster.Fleet.Limits.RetryBudget.Duration, w.report, func(ctx context.Context) error {
		seen, err := w.c.Look(ctx, w.machine, spec.KindRollback)
		if err != nil {
			return err
		}
		facts := seen.Facts()
		if facts.Plan.Error != nil && !seen.Running() {
			if facts.Plan.Error.Phase == "preflight" && facts.Record != nil && facts.Record.Version != w.c.Version {
				return nil // there is nothing to put back
			}
			return fault.As(facts.Plan.Error.Class, &conduct.Failure{Machine: w.machine.Name, Status: *facts.Plan})
		}
		limited, cancel := within(ctx, w.c.Cluster.Fleet.Limits.MachineTimeout.Duration)
		defer cancel()
		if _, err := w.c.Carry(limited, seen, 0, 0, func(text string) { w.report("putting back: " + text) }); err != nil {
			return err
		}
		after, err := w.c.Look(ctx, w.machine, spec.KindRollback)
		version = versionIn(after.Facts())
		return err
	})
	return version, err
}
