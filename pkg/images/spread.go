package images

import (
	"cmp"
	"context"
	"io"
	"log/slog"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/spread"
)

// defaultZoneLabel is the label of a machine's zone where the documents name no other.
const defaultZoneLabel = "topology.kubernetes.io/zone"

// Spreads reports whether the machines of a run pass pieces of files on to each other.
func Spreads(cluster *config.Cluster, tracker *spread.Tracker) bool {
	switch cluster.Fleet.Bundles.Delivery {
	case config.DeliverySpread:
		return tracker != nil
	case config.DeliveryAuto:
		return tracker.Expected() >= spread.MinMachines
	default:
		return false
	}
}

// EnterSpread begins a machine's part in the run, and offers it the archives of its sources. open opens an archive by
// its key.
func EnterSpread(log *slog.Logger, cluster *config.Cluster, tracker *spread.Tracker, machine config.Machine,
	sources []spec.ImageSource, open feed.Open,
) *spread.Session {
	session := tracker.Enter(log, spread.Machine{
		Name: machine.Name, Address: machine.Address,
		Zone: machine.Labels[cmp.Or(cluster.Fleet.Upgrade.ZoneLabel, defaultZoneLabel)],
	}, open)
	for _, source := range sources {
		if source.Sent != nil {
			session.Offer(source.Sent.Key, source.Sent.Size, from(open, source.Sent.Key))
		}
	}
	return session
}

// from opens an archive at an offset by reading the part before it.
func from(open feed.Open, key string) spread.Open {
	return func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		content, err := open(ctx, key)
		if err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, content, offset); err != nil {
			_ = content.Close()
			return nil, err
		}
		return content, nil
	}
}

// Feeding feeds one operation, each time it waits for something.
type Feeding struct {
	feeder Feeder
	id     string
	open   feed.Open
	asked  chan struct{}
	phase  string
}

// NewFeeding makes a Feeding of the operation with this id.
func NewFeeding(feeder Feeder, id string, open feed.Open) *Feeding {
	return &Feeding{feeder: feeder, id: id, open: open, asked: make(chan struct{}, 1)}
}

// Asked tells that a phase of the operation waits for something. It is called by one goroutine at a time.
func (f *Feeding) Asked(phase string) {
	if phase == f.phase {
		return
	}
	f.phase = phase
	select {
	case f.asked <- struct{}{}:
	default:
	}
}

// Run feeds the operation for each phase that asked, until ctx ends, which is no error. An operation closes its
// connection when a phase has all it needs.
func (f *Feeding) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.asked:
		}
		if err := f.feeder.Feed(ctx, f.id, f.open); err != nil {
			return err
		}
	}
}
