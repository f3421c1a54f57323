package operation

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// inspectParallel is how many machines are inspected at once: an inspection costs one SSH login and one exec, so only
// the plugin's own memory bounds it.
const inspectParallel = 64

// Inspect calls inspect for each of machines, many at once, reports how many are done, and returns the results in the
// order of machines. It fails only when ctx ends.
func Inspect[Machine, Found any](ctx context.Context, machines []Machine, progress Progress,
	inspect func(context.Context, Machine) Found,
) ([]Found, error) {
	var done atomic.Int64
	found := make([]Found, len(machines))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inspectParallel)
	for i, machine := range machines {
		group.Go(func() error {
			found[i] = inspect(ctx, machine)
			count, total := done.Add(1), int64(len(machines))
			progress.Report(Event{
				Done: count, Total: total, Unit: Machines,
				Detail: fmt.Sprintf("inspected %d of %d machines", count, total),
			})
			return context.Cause(ctx)
		})
	}
	return found, group.Wait()
}
