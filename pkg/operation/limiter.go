package operation

import (
	"context"
	"fmt"
	"sync"

	"argosy.dev/argosy/internal/count"
)

// Limiter admits a bounded number of machines at a time, in the order in which they asked: as one leaves, the next
// enters, so a slow machine never holds up a batch. A machine whose operation already runs (the plugin was restarted
// meanwhile) enters at once, also over the limit, and no other enters until there is room again.
type Limiter struct {
	mu      sync.Mutex
	limit   int
	inside  int
	waiting []chan struct{}
	// inspections are those of the machines that ask it, before they do.
	inspections Inspections
}

// NewLimiter returns a Limiter for limit machines; below 1 counts as 1.
func NewLimiter(limit int) *Limiter { return &Limiter{limit: max(limit, 1)} }

// Limit returns how many machines it admits at a time.
func (l *Limiter) Limit() int { return l.limit }

// Enter waits until fewer than the limit are inside, and returns the function that leaves. waiting is called once if
// it has to wait, with the number inside.
func (l *Limiter) Enter(ctx context.Context, waiting func(inside int)) (leave func(), err error) {
	l.mu.Lock()
	if l.inside < l.limit && len(l.waiting) == 0 {
		l.inside++
		l.mu.Unlock()
		return l.leaver(), nil
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	inside := l.inside
	l.mu.Unlock()
	waiting(inside)

	select {
	case <-turn:
		return l.leaver(), nil
	case <-ctx.Done():
		l.abandon(turn)
		return nil, context.Cause(ctx)
	}
}

// EnterReporting is Enter that reports the wait.
func (l *Limiter) EnterReporting(ctx context.Context, progress Progress) (leave func(), err error) {
	return l.Enter(ctx, func(inside int) {
		progress.Report(Event{
			Activity: ActivityWait,
			Detail:   fmt.Sprintf("waiting for its turn: %s at work", count.Of(inside, "machine")),
			Done:     int64(inside), Unit: Machines,
		})
	})
}

// EnterRunning enters without waiting.
func (l *Limiter) EnterRunning() (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside++
	return l.leaver()
}

func (l *Limiter) leaver() func() {
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.inside--
		l.admit()
	})
}

// admit lets in whom there is room for; the caller holds the lock.
func (l *Limiter) admit() {
	for l.inside < l.limit && len(l.waiting) > 0 {
		l.inside++
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
	}
}

// abandon takes turn out of the queue, or leaves when it was granted at the same moment.
func (l *Limiter) abandon(turn chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, other := range l.waiting {
		if other == turn {
			l.waiting = append(l.waiting[:i], l.waiting[i+1:]...)
			return
		}
	}
	l.inside--
	l.admit()
}
