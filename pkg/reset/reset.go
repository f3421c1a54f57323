// Package reset resets machines from the plugin's side: it inspects them, has argosy-node make them clean and prove it,
// and then deletes their nodes, where there still is a cluster to delete them from. It moves no pods itself: a caller
// that wants a node drained before gives it a Drain.
package reset

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Resetter resets machines of one cluster. It is safe for use by many goroutines.
type Resetter struct {
	Cluster *config.Cluster
	// Connect opens the cluster that the machines leave. It is not called for one that is gone.
	Connect func(ctx context.Context) (*join.Target, error)
	// Machine opens a machine; it does not dial yet.
	Machine func(config.Machine) operation.Machine
	operation.Runner

	mu     sync.Mutex
	target *join.Target
}

// Options of a reset, beside making a machine clean.
type Options struct {
	// ClusterGone is set when the cluster no longer exists: it is not asked, and a machine is known to be its own
	// by the cluster's name in the machine's record.
	ClusterGone bool
	// RemoveVolumes removes also the volumes of local-path-provisioner on the machine, which are users' data.
	RemoveVolumes bool
	// Drain drains the machine's node before anything is taken away; nil lets its pods end with it.
	Drain *Drain
}

// Outcome is the result for one machine.
type Outcome struct {
	Machine string `json:"machine"`
	// Node is the name that the machine's node had.
	Node string `json:"node"`
	// Changed is false when the machine was clean already and had no node.
	Changed bool `json:"changed"`
	// Begun is set when the machine began to remove things, in this run or in an earlier one: it is not the node any
	// more that it was.
	Begun bool `json:"begun"`
	// Done lists the changes in words.
	Done []string `json:"done,omitempty"`
	// Proof lists in words the traces that were searched for and not found, and those that stay.
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

// Reset makes machine clean, or finds that it is. Transient errors are retried within the fleet's budget. The machine
// works inside limiter. A machine that is refused loses neither anything on it nor its node.
func (r *Resetter) Reset(ctx context.Context, machine config.Machine, options Options, limiter *operation.Limiter,
	progress operation.Progress,
) (Outcome, error) {
	started := time.Now()
	// The machine forgets its node's name, so all attempts share the name that the first one read.
	one := &run{
		Resetter: r, options: options, progress: progress,
		outcome: Outcome{Machine: machine.Name, Node: machine.NodeName},
	}
	err := operation.Job[inspection]{
		Verb: options.verb(), Machine: machine, Limits: r.Cluster.Fleet.Limits, Limiter: limiter,
		Progress: progress,
		Inspect:  func(ctx context.Context) (inspection, error) { return r.inspect(ctx, machine, options) },
		Prepare:  one.drain,
		Apply:    one.apply,
	}.Run(ctx)
	one.outcome.Seconds = time.Since(started).Seconds()
	return one.outcome, err
}

// run is the reset of one machine, through all its attempts.
type run struct {
	*Resetter
	options  Options
	progress operation.Progress
	outcome  Outcome
}

// apply has the machine carry out its plan, and then deletes its node.
func (r *run) apply(ctx context.Context, found inspection) error {
	if found.HasWork() {
		r.outcome.Begun = true
		status, err := r.execute(ctx, found)
		if err != nil {
			return err
		}
		r.outcome.Changed = r.outcome.Changed || status.Changed
		r.outcome.Done = append(r.outcome.Done, operation.Done(status))
		r.outcome.Phases = status.Phases
	}
	r.outcome.Proof = proofIn(r.outcome.Phases)
	return r.removeNode(ctx, found)
}

// execute has the machine carry out its operation.
func (r *run) execute(ctx context.Context, found inspection) (spec.Status, error) {
	id := found.Operation.ID
	return r.Run(ctx, found.remote, found.Operation, func(ctx context.Context, _ spec.Status) (spec.Status, error) {
		return found.remote.Watch(ctx, id, func(status spec.Status) {
			r.progress.Report(found.phases.OfMachine(status))
		})
	})
}

// proofIn returns the detail of the phase that proves.
func proofIn(phases []spec.Phase) string {
	at := slices.IndexFunc(phases, func(p spec.Phase) bool { return p.Name == "prove" })
	if at < 0 {
		return ""
	}
	return phases[at].Detail
}
