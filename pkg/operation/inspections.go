package operation

import (
	"context"
	"sync"
)

// Inspections bounds how many machines are inspected at once where each step of a fan-out inspects its own: Argo calls
// all of them in the same moment. Unlike a place in a [Limiter], one is left before the machine is worked on. The zero
// value is ready, and safe for concurrent use.
type Inspections struct {
	setup  sync.Once
	places chan struct{}
}

// enter waits for a place, and returns the function that leaves it; nil always has one.
func (i *Inspections) enter(ctx context.Context) (leave func(), err error) {
	if i == nil {
		return func() {}, nil
	}
	i.setup.Do(func() { i.places = make(chan struct{}, inspectParallel) })
	select {
	case i.places <- struct{}{}:
		return func() { <-i.places }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
