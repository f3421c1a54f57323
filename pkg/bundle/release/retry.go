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
	// maxFruitless is the number of attempts in a row that may receive no bytes. One that receives bytes is worth
	// another.
	maxFruitless = 6
)

// retrying repeats attempt while its errors are transient. moved is the number of bytes that an attempt received. Its
// limit is of attempts without bytes and not of time, as that of pkg/operation is: a release of 300 MB over a slow line
// takes as long as it takes.
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
			return fmt.Errorf("%d attempts received no bytes: %w", fruitless, err)
		}
		say(err.Error() + "; trying again")
		return retry.RetryableError(err)
	})
	if ctx.Err() != nil && err != nil {
		// go-retry returns the context's error alone and loses the error that it waited for.
		return errclass.Errorf(errclass.Cancelled, "%w (last: %w)", context.Cause(ctx), last)
	}
	return err
}
