// Package reset conducts from the plugin's side how machines leave their cluster: it looks at them, has argosy-node
// make them clean and prove it, and then deletes their nodes, where there still is a cluster to delete them from. It
// moves no pods itself: who wants a node drained before gives it a Vacate.
package reset

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Conductor resets machines of one cluster. It is safe for use by many goroutines.
type Conductor struct {
	Cluster *config.Cluster
	// Connect opens the cluster that the machines leave. It is not called for one that is gone.
	Connect func(ctx context.Context) (*join.Target, error)
	// Machine opens a machine; it does not dial yet.
	Machine func(config.Machine) operation.Machine
	operation.Runner

	mu     sync.Mutex
	target *join.Target
}

// Options are what a reset does beside making a machine clean.
type Options struct {
	// ClusterGone says that there is no cluster any more: nobody is asked for it, and a machine is known to be its own
	// by the cluster's name in the machine's record.
	ClusterGone bool
	// RemoveVolumes removes also what local-path-provisioner keeps on the machine, which is users' data.
	RemoveVolumes bool
	// Vacate empties the machine's node before anything is taken away; nil lets its pods end with it.
	Vacate *Vacate
}

// Outcome is what became of one machine.
type Outcome struct {
	Machine string `json:"machine"`
	// Node is the name that the machine's node had.
	Node string `json:"node"`
	// Changed is false when the machine was clean already and had no node.
	Changed bool `json:"changed"`
	// Begun says that the machine began to take things away, in this run or in an earlier one: it is not the node any
	// more that it was.
	Begun bool `json:"begun"`
	// Done says what was done, in words.
	Done []string `json:"done,omitempty"`
	// Proof says what was looked for on the machine and not found, and what stays there.
	Proof string `json:"proof"`
	// Phases on the machine.
	Phases  []spec.Phase `json:"phases,omitempty"`
	Seconds float64      `json:"seconds"`
}

// String is one line for people.
func (o Outcome) String() string {
	if !o.Changed {
		return fmt.Sprintf("machine %s was clean already: %s", o.Machine, o.Proof)
	}
	return fmt.Sprintf("machine %s is clean after %.1f s (%s): %s", o.Machine, o.Seconds, strings.Join(o.Done, ", "),
		o.Proof)
}

// Reset makes machine clean, or finds that it is. Transient errors are retried within the fleet's budget; report gets a
// line at each change. The machine works inside window.
func (c *Conductor) Reset(ctx context.Context, machine config.Machine, options Options, window *operation.Limiter,
	report func(string)) (Outcome, error) {
	started := time.Now()
	// The machine forgets its node's name, so all attempts share what the first one saw.
	outcome := Outcome{Machine: machine.Name, Node: machine.NodeName}
	err := operation.Retrying(ctx, c.Cluster.Fleet.Limits.RetryBudget.Duration, report, func(ctx context.Context) error {
		return c.attempt(ctx, machine, options, window, &outcome, report)
	})
	outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return outcome, fmt.Errorf("%s machine %q (%s): %w", options.doing(), machine.Name, machine.Address, err)
	}
	return outcome, nil
}

// margin is how much longer than the machine's own limit its work is waited for.
const margin = time.Minute

// attempt is one way from looking at the machine to its node's deletion. A machine that is refused loses neither
// anything on it nor its node.
func (c *Conductor) attempt(ctx context.Context, machine config.Machine, options Options, window *operation.Limiter,
	outcome *Outcome, report func(string)) error {
	report(fmt.Sprintf("looking at machine %s (%s)", machine.Name, machine.Address))
	seen, err := c.look(ctx, machine, options)
	if err != nil {
		return err
	}
	if seen.facts.Plan.Error != nil && !seen.running() {
		return errclass.With(seen.facts.Plan.Error.Class, &operation.Failure{Machine: machine.Name,
			Status: *seen.facts.Plan})
	}
	seen.remember(outcome)
	leave, err := enter(ctx, seen, window, report)
	if err != nil {
		return err
	}
	defer leave()
	if err := vacate(ctx, seen, options.Vacate, outcome, report); err != nil {
		return err
	}
	limit := c.Cluster.Fleet.Limits.MachineTimeout.Duration + margin
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errclass.Errorf(errclass.Permanent,
		"the machine was given %s and used them up", limit))
	defer cancel()
	if seen.running() || operation.Wants(seen.facts.Plan) {
		outcome.Begun = true
		status, err := c.work(ctx, seen, report)
		if err != nil {
			return err
		}
		outcome.Changed = outcome.Changed || status.Changed
		outcome.Done = append(outcome.Done, operation.Done(status))
		outcome.Phases = status.Phases
	}
	outcome.Proof = proofIn(outcome.Phases)
	return c.removeNode(ctx, seen, outcome, report)
}

func enter(ctx context.Context, seen sight, window *operation.Limiter, report func(string)) (func(), error) {
	if seen.running() {
		return window.EnterRunning(), nil
	}
	return window.Enter(ctx, func(inside int) {
		report(fmt.Sprintf("waiting for a place: %d machines are at work", inside))
	})
}

// work has the machine do what its plan wants.
func (c *Conductor) work(ctx context.Context, seen sight, report func(string)) (spec.Status, error) {
	further := 0
	if seen.target != nil {
		further = clusterPhases
	}
	id := seen.op.ID
	return c.Run(ctx, seen.remote, seen.op, func(ctx context.Context, _ spec.Status) (spec.Status, error) {
		return seen.remote.Watch(ctx, id, func(status spec.Status) {
			status.Index += seen.before
			report(operation.Message(status, seen.before+further))
		})
	})
}

// proofIn finds what the phase that proves said.
func proofIn(phases []spec.Phase) string {
	at := slices.IndexFunc(phases, func(p spec.Phase) bool { return p.Name == "prove" })
	if at < 0 {
		return ""
	}
	return phases[at].Detail
}
