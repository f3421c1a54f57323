// Package images conducts from the plugin's side how images come into the container runtimes of machines that are
// nodes: it looks at machines, has argosy-node import what they lack, and sends them the archives and images that it
// downloads itself, so that a machine needs neither a registry nor a login. Package join sends with it too.
package images

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Feeder sends an operation on a machine the archives that it asks for; *machine.Machine is one.
type Feeder interface {
	Feed(ctx context.Context, id string, open feed.Open) error
}

// Machine is the plugin's side of one machine; *machine.Machine is one.
type Machine interface {
	operation.Machine
	Feeder
}

// Conductor imports images into machines of one cluster. It is safe for use by many goroutines.
type Conductor struct {
	Cluster *config.Cluster
	// UID asks the cluster who it is: the UID of its kube-system namespace, which a machine remembers whose node it is.
	UID func(ctx context.Context) (string, error)
	// Machine opens a machine; it does not dial yet.
	Machine func(config.Machine) Machine
	// Supply is what the plugin sends.
	Supply *Supply
	operation.Runner

	mu  sync.Mutex
	uid string
}

// Outcome is what became of one machine.
type Outcome struct {
	Machine string `json:"machine"`
	// Changed is false when every image was there already.
	Changed bool `json:"changed"`
	// Done says what was imported, or that nothing had to be.
	Done string `json:"done"`
	// Phases on the machine.
	Phases  []spec.Phase `json:"phases,omitempty"`
	Seconds float64      `json:"seconds"`
}

// String is one line for people.
func (o Outcome) String() string {
	if !o.Changed {
		return fmt.Sprintf("machine %s: %s", o.Machine, o.Done)
	}
	return fmt.Sprintf("machine %s after %.1f s: %s", o.Machine, o.Seconds, o.Done)
}

// Import has machine import items, in the form of importImages, or those that the documents name for it when there are
// none. What it has already is not sent. Transient errors are retried within the fleet's budget; report gets a line at
// each change. The machine works inside window.
func (c *Conductor) Import(ctx context.Context, machine config.Machine, items []string, window *operation.Limiter,
	report func(string)) (Outcome, error) {
	started := time.Now()
	outcome := Outcome{Machine: machine.Name}
	err := operation.Retrying(ctx, c.Cluster.Fleet.Limits.RetryBudget.Duration, report, func(ctx context.Context) error {
		return c.attempt(ctx, machine, items, window, &outcome, report)
	})
	outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return outcome, fmt.Errorf("importing images into machine %q (%s): %w", machine.Name, machine.Address, err)
	}
	return outcome, nil
}

// margin is how much longer than the machine's own limit its work is waited for.
const margin = time.Minute

func (c *Conductor) attempt(ctx context.Context, machine config.Machine, items []string, window *operation.Limiter,
	outcome *Outcome, report func(string)) error {
	report(fmt.Sprintf("looking at machine %s (%s)", machine.Name, machine.Address))
	seen, err := c.look(ctx, machine, items)
	if err != nil {
		return err
	}
	if seen.facts.Plan.Error != nil && !seen.running() {
		return errclass.With(seen.facts.Plan.Error.Class, &operation.Failure{Machine: machine.Name,
			Status: *seen.facts.Plan})
	}
	leave, err := enter(ctx, seen, window, report)
	if err != nil {
		return err
	}
	defer leave()
	limit := c.Cluster.Fleet.Limits.MachineTimeout.Duration + margin
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errclass.Errorf(errclass.Permanent,
		"the machine was given %s and used them up", limit))
	defer cancel()
	outcome.Phases = seen.facts.Plan.Phases
	if seen.running() || operation.Wants(seen.facts.Plan) {
		status, err := c.work(ctx, seen, report)
		if err != nil {
			return err
		}
		outcome.Changed = outcome.Changed || status.Changed
		outcome.Phases = status.Phases
	}
	outcome.Done = detailOf(outcome.Phases)
	return nil
}

func enter(ctx context.Context, seen sight, window *operation.Limiter, report func(string)) (func(), error) {
	if seen.running() {
		return window.EnterRunning(), nil
	}
	return window.Enter(ctx, func(inside int) {
		report(fmt.Sprintf("waiting for a place: %d machines are at work", inside))
	})
}

// work has the machine import, and sends it what it asks for.
func (c *Conductor) work(ctx context.Context, seen sight, report func(string)) (spec.Status, error) {
	id := seen.op.ID
	return c.Run(ctx, seen.remote, seen.op, func(ctx context.Context, status spec.Status) (spec.Status, error) {
		group, working := errgroup.WithContext(ctx)
		sending, stop := context.WithCancel(working)
		defer stop()
		group.Go(func() error {
			defer stop()
			var err error
			status, err = seen.remote.Watch(working, id, func(s spec.Status) { report(operation.Message(s, 0)) })
			return err
		})
		if Sends(seen.op.Images.Sources) {
			group.Go(func() error { return seen.remote.Feed(sending, id, c.Supply.Open) })
		}
		return status, group.Wait()
	})
}

// detailOf finds what the phase that imports said.
func detailOf(phases []spec.Phase) string {
	at := slices.IndexFunc(phases, func(p spec.Phase) bool { return p.Name == "images" })
	if at < 0 {
		return ""
	}
	return phases[at].Detail
}
