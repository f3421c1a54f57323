package operation

import (
	"context"
	"sync"

	"argosy.dev/argosy/pkg/node/spec"
)

// advance is how far the attempts of one Retrying have come.
type advance struct {
	// outer is that of the Retrying around it; nil for none.
	outer *advance

	mu sync.Mutex
	// made is true where an attempt came further since take.
	made bool
	// furthest is the furthest position of each operation that the attempts followed, by its ID.
	furthest map[string]position
}

// position is how far an operation has come on its machine.
type position struct {
	// phase is its number, from 1.
	phase int
	// done are the bytes of that phase.
	done int64
}

func (p position) after(other position) bool {
	return p.phase > other.phase || p.phase == other.phase && p.done > other.done
}

type advanceKey struct{}

// withAdvance returns a context whose attempts tell the returned advance how far they come.
func withAdvance(ctx context.Context) (context.Context, *advance) {
	outer, _ := ctx.Value(advanceKey{}).(*advance)
	a := &advance{outer: outer, furthest: map[string]position{}}
	return context.WithValue(ctx, advanceKey{}, a), a
}

// take reports whether an attempt came further since the last call.
func (a *advance) take() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	made := a.made
	a.made = false
	return made
}

func (a *advance) each(change func(*advance)) {
	for ; a != nil; a = a.outer {
		a.mu.Lock()
		change(a)
		a.mu.Unlock()
	}
}

// Advanced notes that the attempt of ctx did something that no later attempt does again, such as the eviction of a pod.
// The budget of its Retrying, and of those around it, then begins anew with the next failure.
func Advanced(ctx context.Context) {
	a, _ := ctx.Value(advanceKey{}).(*advance)
	a.each(func(a *advance) { a.made = true })
}

// reached notes how far an operation came. Only a phase or a number of bytes that it had not reached before counts: an
// operation that fails at the same place each time does not advance.
func reached(ctx context.Context, status spec.Status) {
	a, _ := ctx.Value(advanceKey{}).(*advance)
	at := position{phase: status.Index}
	if status.Progress != nil {
		at.done = status.Progress.Done
	}
	a.each(func(a *advance) {
		if at.after(a.furthest[status.ID]) {
			a.furthest[status.ID], a.made = at, true
		}
	})
}
