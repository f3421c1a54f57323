package operation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sethvargo/go-retry"

	"argosy.dev/argosy/pkg/errclass"
)

// Waits between attempts grow from the first to the longest, with jitter, so that fifty machines behind one bastion do
// not come back in the same instant.
const (
	firstWait   = 500 * time.Millisecond
	longestWait = 15 * time.Second
	jitterShare = 20 // percent
)

// Retrying runs attempt until it succeeds, fails for good, or transient errors have gone on for budget. It is the one
// place that repeats an operation; connections and downloads go on in loops of their own. The budget starts at the
// first failure, and anew, with the shortest wait, at the first failure after an attempt that came further than those
// before it: neither the time in a queue nor an interruption long ago is to the charge of a machine.
func Retrying(ctx context.Context, budget time.Duration, progress Progress,
	attempt func(context.Context) error,
) error {
	backoff := newBackoff()
	var firstFailure time.Time
	within := retry.BackoffFunc(func() (time.Duration, bool) {
		wait, stop := backoff.Next()
		return wait, stop || time.Since(firstFailure)+wait > budget
	})
	tries := 0
	var last error
	attempts, advance := withAdvance(ctx)
	err := retry.Do(attempts, within, func(ctx context.Context) error {
		tries++
		last = attempt(ctx)
		if !errclass.IsTransient(last) || ctx.Err() != nil {
			return last
		}
		if advanced := advance.take(); advanced || firstFailure.IsZero() {
			firstFailure, tries, backoff = time.Now(), 1, newBackoff()
		}
		retried(ctx, last)
		progress.Report(Event{
			Activity: ActivityRetry,
			Detail: fmt.Sprintf("%s; trying again (%d), %s of %s used", last, tries,
				time.Since(firstFailure).Round(time.Second), budget),
		})
		return retry.RetryableError(last)
	})
	switch {
	case err == nil:
		return nil
	case tries == 0:
		return context.Cause(ctx) // it had ended before
	case ctx.Err() != nil && last != nil && !errors.Is(last, context.Cause(ctx)):
		// go-retry answers with the context's error alone and loses the error of the last attempt.
		return fmt.Errorf("%w (last: %w)", context.Cause(ctx), last)
	case tries > 1:
		return fmt.Errorf("%d attempts within %s: %w", tries, budget, last)
	}
	return last
}

func newBackoff() retry.Backoff {
	backoff := retry.WithCappedDuration(longestWait, retry.NewExponential(firstWait))
	return retry.WithJitterPercent(jitterShare, backoff)
}
