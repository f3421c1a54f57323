package upgrade

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// turnsAhead is how many machines of a wave are inspected and wait for their admission, beside those that may be out of
// service. Each of them asks the planner at every tick of the view.
const turnsAhead = 8

// InTurn calls do with the index of each of machines, which are of one wave of the plan, and returns when all calls
// have. It bounds how many of the rollout's machines are in do at once, over all calls of InTurn:
//
//	machine                        at once
//	has begun in this rollout      all of them
//	is unavailable, or has ended   MaxUnavailable and turnsAhead
//	is pending and available       MaxUnavailable and turnsAhead
//
// The last two have room apart, since pending machines wait for those that are unavailable. The order is the plan's.
// When ctx ends, no more calls begin, and its cause is returned once those that have begun are over.
func (u *Upgrader) InTurn(ctx context.Context, plan rollout.Plan, machines []string, do func(i int)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var working sync.WaitGroup
		for i, t := range u.turns.add(plan, machines) {
			working.Go(func() {
				if u.turns.await(ctx, t) {
					defer u.turns.leave(t)
					do(i)
				}
			})
		}
		working.Wait()
	}()
	ticks := time.NewTicker(admitEvery)
	defer ticks.Stop()
	for {
		if err := u.schedule(ctx); err != nil {
			cancel(err)
			<-ended
			return err
		}
		select {
		case <-ended:
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		case <-ticks.C:
		}
	}
}

// schedule lets machines begin by the nodes as they were listed last, once a second for all callers. Those that wait
// for their admission have them listed again.
func (u *Upgrader) schedule(ctx context.Context) error {
	if !u.turns.due(time.Now()) {
		return nil
	}
	machines, _, err := u.snapshot(ctx, nil, time.Time{})
	if ctx.Err() != nil {
		return nil // as InTurn finds
	}
	if err != nil {
		return err
	}
	urgencies := make(map[string]urgency, len(machines))
	for _, m := range machines {
		urgencies[m.Name] = urgencyOf(m)
	}
	u.turns.grant(urgencies)
	return nil
}

// urgency of a machine, which decides how many like it are in do at once.
type urgency int

const (
	pending urgency = iota
	apart           // unavailable, or has ended
	begun
)

func urgencyOf(m rollout.Machine) urgency {
	switch {
	case m.State == rollout.Working:
		return begun
	case m.State != rollout.Pending || m.Unavailable || m.Version == "" || m.Skip != "":
		return apart
	}
	return pending
}

// turnQueue is the machines of a rollout that wait for do, and how many are in it.
type turnQueue struct {
	mu      sync.Mutex
	waiting []*turn // in the plan's order
	inside  [begun + 1]int
	// limit of each urgency but begun.
	limit int
	// urgencies as of scheduled, by machine.
	urgencies map[string]urgency
	scheduled time.Time
}

type turn struct {
	machine  string
	position int
	urgency  urgency
	granted  chan struct{}
}

// add appends a turn for each of machines.
func (q *turnQueue) add(plan rollout.Plan, machines []string) []*turn {
	positions := map[string]int{}
	for _, wave := range plan.Waves {
		for _, name := range wave.Machines {
			positions[name] = len(positions)
		}
	}
	turns := make([]*turn, 0, len(machines))
	for _, name := range machines {
		turns = append(turns, &turn{machine: name, position: positions[name], granted: make(chan struct{})})
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = max(plan.MaxUnavailable, 1) + turnsAhead
	q.waiting = append(q.waiting, turns...)
	slices.SortStableFunc(q.waiting, func(a, b *turn) int { return cmp.Compare(a.position, b.position) })
	q.scheduled = time.Time{}
	return turns
}

// await reports whether the turn was granted before ctx ended.
func (q *turnQueue) await(ctx context.Context, t *turn) bool {
	select {
	case <-t.granted:
		return true
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.Index(q.waiting, t)
	if at < 0 { // it was granted at the same moment
		return true
	}
	q.waiting = slices.Delete(q.waiting, at, at+1)
	return false
}

// due reports whether a second has passed since it last did.
func (q *turnQueue) due(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.scheduled) < admitEvery {
		return false
	}
	q.scheduled = now
	return true
}

// grant lets machines begin by their urgencies.
func (q *turnQueue) grant(urgencies map[string]urgency) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.urgencies = urgencies
	q.admit()
}

// leave gives the place of a turn to the next.
func (q *turnQueue) leave(t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inside[t.urgency]--
	q.admit()
}

// admit grants the turns for which there is room; the caller holds the lock.
func (q *turnQueue) admit() {
	q.waiting = slices.DeleteFunc(q.waiting, func(t *turn) bool {
		of := q.urgencies[t.machine]
		if of != begun && q.inside[of] >= q.limit {
			return false
		}
		t.urgency = of
		q.inside[of]++
		close(t.granted)
		return true
	})
}
