package lab

import (
	"context"
	"fmt"
	"time"
)

const (
	// waitLimit ends a wait for a machine, a process or a pod of the lab. It is far above the seconds that each takes:
	// on a computer whose processors compile something else the lab comes up slower, and does not fail.
	waitLimit = 10 * time.Minute
	// waitReport is how often a wait that takes long tells why it goes on.
	waitReport = 15 * time.Second
	waitPoll   = 20 * time.Millisecond
)

// await polls until ready returns nil. It ends early, with the error of alive, when there is nothing left to wait for;
// alive may be nil. Its last error holds the one of ready.
func (l *Lab) await(ctx context.Context, what string, ready func(context.Context) error, alive func() error) error {
	return l.awaitWithin(ctx, waitLimit, waitPoll, what, ready, alive)
}

// awaitWithin is await with a limit of its own, and a pause between two polls.
func (l *Lab) awaitWithin(ctx context.Context, limit, pause time.Duration, what string,
	ready func(context.Context) error, alive func() error,
) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start, reported := time.Now(), time.Now()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if alive != nil {
			if dead := alive(); dead != nil {
				return fmt.Errorf("waiting for %s: %w", what, dead)
			}
		}
		if time.Since(reported) > waitReport {
			reported = time.Now()
			l.logf("still waiting for %s after %s: %v", what, time.Since(start).Round(time.Second), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting %s for %s: %w", time.Since(start).Round(time.Second), what, err)
		case <-time.After(pause):
		}
	}
}
