package operation

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// lookParallel is how many machines are looked at at once: a look costs one SSH login and one exec, so only the
// plugin's own memory bounds it.
const lookParallel = 64

// Inspect has look see each of machines, many at once, and gives what it found in their order. It fails only when ctx
// ends.
func Inspect[Machine, Found any](ctx context.Context, machines []Machine,
	look func(context.Context, Machine) Found) ([]Found, error) {
	found := make([]Found, len(machines))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookParallel)
	for i, machine := range machines {
		group.Go(func() error {
			found[i] = look(ctx, machine)
			return context.Cause(ctx)
		})
	}
	return found, group.Wait()
}
