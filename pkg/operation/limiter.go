package operation

import (
	"context"
	"fmt"
	"sync"
)

// Limiter admits a bounded number of machines at a time, in the order in which they asked: as one leaves, the next
// enters, so a slow machine never holds up a batch. A machine whose operation already runs (the plugin was restarted
// meanwhile) enters at once, also over the limit, and no other enters until there is room again.
type Limiter struct {
	mu      sync.Mutex
	limit   int
	inside  int
	waiting []chan struct{}
}

// NewLimiter makes a window for limit machines; below 1 counts as 1.
func NewLimiter(limit int) *Limiter { return &Limiter{limit: max(limit, 1)} }

// Enter waits for a place and returns the function that gives it back. waiting is called once when there is none yet,
// with the number inside.
func (w *Limiter) Enter(ctx context.Context, waiting func(inside int)) (leave func(), err error) {
	w.mu.Lock()
	if w.inside < w.limit && len(w.waiting) == 0 {
		w.inside++
		w.mu.Unlock()
		return w.leaver(), nil
	}
	place := make(chan struct{})
	w.waiting = append(w.waiting, place)
	inside := w.inside
	w.mu.Unlock()
	waiting(inside)

	select {
	case <-place:
		return w.leaver(), nil
	case <-ctx.Done():
		w.giveUp(place)
		return nil, context.Cause(ctx)
	}
}

// EnterReporting is Enter that reports the wait.
func (w *Limiter) EnterReporting(ctx context.Context, progress Progress) (leave func(), err error) {
	return w.Enter(ctx, func(inside int) {
		progress.Report(Event{Detail: fmt.Sprintf("waiting for its turn: %d machines are at work", inside),
			Done: int64(inside), Unit: Machines})
	})
}

// EnterRunning enters without waiting.
func (w *Limiter) EnterRunning() (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inside++
	return w.leaver()
}

func (w *Limiter) leaver() func() {
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.inside--
		w.admit()
	})
}

// admit lets in whom there is room for; the caller holds the lock.
func (w *Limiter) admit() {
	for w.inside < w.limit && len(w.waiting) > 0 {
		w.inside++
		close(w.waiting[0])
		w.waiting = w.waiting[1:]
	}
}

// giveUp takes place out of the queue, or gives it back when it was granted at the same moment.
func (w *Limiter) giveUp(place chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, other := range w.waiting {
		if other == place {
			w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
			return
		}
	}
	w.inside--
	w.admit()
}
