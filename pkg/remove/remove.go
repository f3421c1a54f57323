// Package remove removes machines from a cluster that goes on without them: it cordons and drains a machine's node, has
// the machine reset, which also deletes the node, and uncordons the node where the machine could not be removed. Of an
// unreachable machine it removes the node alone. The reset is in package reset, the drain in package drain.
package remove

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// Remover removes machines of one cluster. It is safe for use by many goroutines.
type Remover struct {
	// Resetter resets them.
	*reset.Resetter
}

// Options of a removal.
type Options struct {
	// Drain evicts the pods of a node before; without it they end with the machine.
	Drain bool
	// Policy of the drain.
	Policy config.Drain
	// Unreachable is set for a dead machine: it is not contacted, and only its node is removed.
	Unreachable bool
	// RemoveVolumes removes also the volumes of local-path-provisioner on the machine, which are users' data.
	RemoveVolumes bool
}

// Outcome is the result for one machine.
type Outcome struct {
	reset.Outcome
	// Unreachable: the machine was not contacted, and only its node removed.
	Unreachable bool `json:"unreachable,omitempty"`
}

// String is one line for people.
func (o Outcome) String() string {
	switch {
	case !o.Unreachable:
		return o.Outcome.String()
	case o.Changed:
		return fmt.Sprintf("node %s is deleted; machine %s %s", o.Node, o.Machine, tracesStay)
	}
	return fmt.Sprintf("machine %s has no node; it %s", o.Machine, tracesStay)
}

// Afterwards is the next step of users when machines were removed.
const Afterwards = "take them out of machines in " + config.FleetDocument + ", or the next join brings them back"

// cordonOwner is the owner that cordons are marked with, the same in all runs.
const cordonOwner = "remove"

// The phases that come before the machine's own.
const (
	phaseCordon = "cordon"
	phaseDrain  = "drain"
)

func (o Options) phases() []string {
	if o.Drain {
		return []string{phaseCordon, phaseDrain}
	}
	return []string{phaseCordon}
}

// Remove takes machine out of its cluster and makes it clean, or finds that it is. Transient errors are retried within
// the fleet's budget. The machine is drained and reset inside limiter. Where it can't be removed and was not touched
// yet, its node is uncordoned, if the removal cordoned it.
func (r *Remover) Remove(ctx context.Context, machine config.Machine, options Options, limiter *operation.Limiter,
	progress operation.Progress,
) (Outcome, error) {
	if options.Unreachable {
		return r.removeUnreachable(ctx, machine, options, limiter, progress)
	}
	one := &removal{options: options}
	outcome, err := r.Reset(ctx, machine, reset.Options{
		RemoveVolumes: options.RemoveVolumes,
		Drain:         &reset.Drain{Phases: options.phases(), Run: one.drain},
	}, limiter, progress)
	if err != nil && !r.Leaves(ctx) {
		err = one.uncordon(ctx, outcome.Begun, err)
	}
	return Outcome{Outcome: outcome}, err
}

// removal is the removal of one machine, through all its attempts.
type removal struct {
	options Options
	// target is the machine before its reset; nil until its node was cordoned.
	target *reset.DrainTarget
	// own is set when the cordon is the removal's.
	own bool
}

// drain cordons the node and drains it, unless it is known before that it can't be drained.
func (r *removal) drain(ctx context.Context, target reset.DrainTarget,
	in func(phase string) operation.Progress,
) ([]string, error) {
	with := drain.Drainer{Client: target.Client, Policy: r.options.Policy}
	name := target.Node.Name
	if r.options.Drain {
		operation.Reportf(in(phaseCordon), "inspecting the pods of node %s", name)
		found, err := with.Preflight(ctx, target.Node, nil)
		if err != nil {
			return nil, err
		}
		if err := found.Refusal(); err != nil {
			return nil, err
		}
	}
	operation.Reportf(in(phaseCordon), "cordoning node %s", name)
	own, err := with.Cordon(ctx, name, cordonOwner)
	if err != nil {
		return nil, err
	}
	r.target, r.own = &target, own
	if !r.options.Drain {
		return nil, nil
	}
	evicted, err := with.Drain(ctx, name, target.Alive, in(phaseDrain))
	var done []string
	if evicted > 0 {
		done = append(done, count.Of(evicted, "pod")+" evicted")
	}
	if err != nil || !target.Alive { // without a kubelet nothing is unmounted, and so nothing detached
		return done, err
	}
	attached, err := with.AwaitDetached(ctx, name, in(phaseDrain))
	if len(attached) > 0 {
		done = append(done, "still attached: "+strings.Join(attached, ", "))
	}
	return done, err
}

// uncordon uncordons the node after a failure, and adds to the error its state:
//
//	cordon           the machine                             the node
//	not reached      any                                     as it was
//	another's        any                                     as it was
//	the removal's    was not touched, and its kubelet runs   uncordoned
//	the removal's    otherwise                               stays cordoned: it can't run pods
func (r *removal) uncordon(ctx context.Context, begun bool, failure error) error {
	if r.target == nil || !r.own {
		return failure
	}
	name := r.target.Node.Name
	if begun || !r.target.Alive {
		return fmt.Errorf("%w; node %s stays cordoned", failure, name)
	}
	return drain.Drainer{Client: r.target.Client}.UncordonAfter(ctx, name, cordonOwner, failure)
}
