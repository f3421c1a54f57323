package node

import (
	"sync"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
)

// writeInterval is the least time between two writes of a status that are not urgent.
const writeInterval = 250 * time.Millisecond

// recorder keeps an operation's status and writes it: at once when a phase or message changes, four times a second
// while a transfer progresses.
type recorder struct {
	mu      sync.Mutex
	status  spec.Status
	written time.Time
	write   func(*spec.Status) error
	err     error
}

// change applies f to the status. With urgent the status is written in any case.
func (r *recorder) change(urgent bool, f func(*spec.Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.status)
	now := time.Now()
	r.status.Updated = now.UTC()
	if r.write == nil || !urgent && now.Sub(r.written) < writeInterval {
		return
	}
	r.written = now
	// Only the error of the last write counts: each write has the whole status.
	r.err = r.write(&r.status)
}

func (r *recorder) snapshot() *spec.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.status
	status.Phases = append([]spec.Phase(nil), r.status.Phases...)
	return &status
}

// newStatus returns the status of an operation that begins.
func newStatus(op *spec.Operation, total int) spec.Status {
	now := time.Now().UTC()
	return spec.Status{
		ID: op.ID, Kind: op.Kind, Cluster: op.Cluster, Machine: op.Machine,
		Spread: op.Spread,
		State:  spec.Running, Total: total, Phases: []spec.Phase{}, Started: now, Updated: now,
	}
}
