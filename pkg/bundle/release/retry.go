package release

import (
	"context"
	"fmt"
	"time"

	"github.com/sethvargo/go-retry"

	"argosy.dev/argosy/pkg/errclass"
)

const (
	firstWait   = 250 * time.Millisecond
	longestWait = 15 * time.Second
	jitterShare = 20 // percent
	// maxFruitless is how many attempts in a row may bring nothing; one that brings bytes is worth another, however
	// slow the way is.
	maxFruitless = 6
)

// retrying repeats attempt while its errors are transient; moved is how many bytes an attempt brought.
func retrying(ctx context.Context, say func(string), attempt func(context.Context) (moved int64, err error)) error {
	backoff := retry.WithJitterPercent(jitterShare, retry.WithCappedDuration(longestWait,
		retry.NewExponential(firstWait)))
	fruitless := 0
	var last error
	err := retry.Do(ctx, backoff, func(ctx context.Context) error {
		moved, err := attempt(ctx)
		last = err
		fruitless++
		if moved > 0 {
			fruitless = 0
		}
		switch {
		case ctx.Err() != nil, !errclass.IsTransient(err):
			return err
		case fruitless >= maxFruitless:
			return fmt.Errorf("%d attempts that brought nothing: %w", fruitless, err)
		}
		say(err.Error() + "; trying again")
		return retry.RetryableError(err)
	})
	if ctx.Err() != nil && err != nil {
		// go-retry answers with the context's error alone and loses what it was waiting out.
		return errclass.Errorf(errclass.Cancelled, "%w (last: %w)", context.Cause(ctx), last)
	}
	return err
}
