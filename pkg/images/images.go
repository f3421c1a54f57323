// Package images imports images into the container runtimes of machines that are nodes, from the plugin's side: it
// inspects machines, has argosy-node import the images that they lack, and sends them the archives and images
// that it downloads itself, so that a machine needs neither a registry nor a login. Package join sends with it too.
package images

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/spread"
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

// Importer imports images into machines of one cluster. It is safe for use by many goroutines.
type Importer struct {
	Cluster *config.Cluster
	// UID asks the cluster who it is: the UID of its kube-system namespace, which a machine remembers whose node it is.
	UID func(ctx context.Context) (string, error)
	// Machine opens a machine; it does not dial yet.
	Machine func(config.Machine) Machine
	// Supply holds the images that the plugin sends.
	Supply *Supply
	// Spread has the machines of the run that pass pieces of archives on to each other; nil where none do.
	Spread *spread.Tracker
	operation.Runner

	mu  sync.Mutex
	uid string
}

// Outcome is the result for one machine.
type Outcome struct {
	Machine string `json:"machine"`
	// Changed is false when every image was there already.
	Changed bool `json:"changed"`
	// Done lists the imported images, or states that all were there.
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
// none. What it has already is not sent. Transient errors are retried within the fleet's budget; progress gets an
// event at each change. The machine works inside limiter.
func (i *Importer) Import(ctx context.Context, machine config.Machine, items []string, limiter *operation.Limiter,
	progress operation.Progress,
) (Outcome, error) {
	i.Spread.Expect(machine.Name)
	started := time.Now()
	outcome := Outcome{Machine: machine.Name}
	err := operation.Job[inspection]{
		Verb: "importing images into", Machine: machine, Limits: i.Cluster.Fleet.Limits, Limiter: limiter,
		Progress: progress,
		Inspect:  func(ctx context.Context) (inspection, error) { return i.inspect(ctx, machine, items) },
		Apply: func(ctx context.Context, found inspection) error {
			return i.apply(ctx, found, &outcome, progress)
		},
	}.Run(ctx)
	outcome.Seconds = time.Since(started).Seconds()
	return outcome, err
}

// apply has the machine import, if it lacks anything.
func (i *Importer) apply(ctx context.Context, found inspection, outcome *Outcome,
	progress operation.Progress,
) error {
	outcome.Phases = found.Facts.Plan.Phases
	var remarks []string
	if found.HasWork() {
		status, notes, err := i.execute(ctx, found, progress)
		remarks = notes
		if err != nil {
			return err
		}
		outcome.Changed = outcome.Changed || status.Changed
		outcome.Phases = status.Phases
	}
	outcome.Done = strings.Join(append([]string{detailOf(outcome.Phases)}, remarks...), "; ")
	return nil
}

// execute has the machine import, and sends it the archives that it asks for. It also returns remarks on its part in
// the run.
func (i *Importer) execute(ctx context.Context, found inspection, progress operation.Progress) (status spec.Status,
	remarks []string, err error,
) {
	op := found.Operation
	id, sources := op.ID, op.Images.Sources
	op.Spread = sends(sources) && Spreads(i.Cluster, i.Spread)
	status, err = i.Run(ctx, found.remote, op, func(ctx context.Context, status spec.Status) (spec.Status, error) {
		open := i.Supply.Open
		if status.Spread && i.Spread != nil {
			session := EnterSpread(i.Log, i.Cluster, i.Spread, found.machine, sources, open)
			defer func() { session.Leave(); remarks = session.Remarks() }()
			open = session.Open
		}
		feeding := NewFeeding(found.remote, id, open)
		feeding.Asked(phaseImages)
		group, working := errgroup.WithContext(ctx)
		sending, stop := context.WithCancel(working)
		defer stop()
		group.Go(func() error {
			defer stop()
			var err error
			status, err = found.remote.Watch(working, id, func(s spec.Status) {
				progress.Report(operation.Phases{operation.MachinePhases}.OfMachine(s))
				if s.Feed != "" {
					feeding.Asked(s.Phase)
				}
			})
			return err
		})
		if sends(sources) {
			group.Go(func() error { return feeding.Run(sending) })
		}
		return status, group.Wait()
	})
	return status, remarks, err
}

// phaseImages is the machine's phase that imports.
const phaseImages = "images"

// detailOf returns the detail of the phase that imports.
func detailOf(phases []spec.Phase) string {
	at := slices.IndexFunc(phases, func(p spec.Phase) bool { return p.Name == phaseImages })
	if at < 0 {
		return ""
	}
	return phases[at].Detail
}
