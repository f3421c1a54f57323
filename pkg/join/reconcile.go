package join

import (
	"context"
	"fmt"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Reconcile puts right what differs between a node and the documents, and restarts only what that changes; its pods run
// on. It looks once more at the end, and fails if anything still differs. A machine that is no node yet is refused: it
// joins first. Otherwise it is like Join.
func (c *Conductor) Reconcile(ctx context.Context, machine config.Machine, window *operation.Limiter,
	report func(string)) (Outcome, error) {
	outcome, err := c.bring(ctx, machine, report, c.reconcileOnce(window))
	if err != nil {
		return outcome, fmt.Errorf("reconciling machine %q (%s): %w", machine.Name, machine.Address, err)
	}
	return outcome, nil
}

func (c *Conductor) reconcileOnce(window *operation.Limiter) try {
	return func(ctx context.Context, seen sight, outcome Outcome, limit time.Duration, worked *bool,
		report func(string)) (Outcome, error) {
		if !seen.running() && !seen.onlyDiffers(c.Target) {
			return outcome, errclass.Errorf(errclass.Configuration,
				"the machine is no node of cluster %s yet, or its join was not finished: submit workflow join first",
				c.Cluster.Name)
		}
		leave, err := c.enter(ctx, seen, window, report)
		if err != nil {
			return outcome, err
		}
		defer leave()
		ctx, cancel := within(ctx, limit)
		defer cancel()
		if outcome, err = c.workOn(ctx, seen, outcome, worked, report); err != nil {
			return outcome, err
		}
		if outcome, err = c.finish(ctx, seen, outcome, report); err != nil || !outcome.Changed {
			return outcome, err
		}
		return outcome, c.proveSame(ctx, seen.machine, report)
	}
}

// proveSame looks at the machine once more.
func (c *Conductor) proveSame(ctx context.Context, machine config.Machine, report func(string)) error {
	report("looking whether anything still differs")
	seen, err := c.look(ctx, machine, spec.KindJoin)
	if err != nil {
		return err
	}
	if left := operation.WantedPhases(seen.facts.Plan); len(left) > 0 {
		return errclass.Errorf(errclass.Permanent, "phases %s were carried out, and there still differs %s: "+
			"something on the machine changes it back",
			strings.Join(left, ", "), strings.Join(whatDiffers(changesOf(seen.facts.Plan)), ", "))
	}
	return nil
}
