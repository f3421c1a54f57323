package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// job is work on machines of a cluster, with progress at a terminal.
type job struct {
	cluster *config.Cluster
	// concurrency limits the machines worked on at once; 0 is the limit of argosy.yaml.
	concurrency int
	// selected is the number of selected machines. Those of them that the plan refused count as failed.
	selected int
	refused  []string
	out      io.Writer
}

// runOnMachines runs do on the named machines. Its error names those that failed or were refused.
func runOnMachines[Outcome fmt.Stringer](ctx context.Context, j job, names []string,
	do func(context.Context, config.Machine, *operation.Limiter, operation.Progress) (Outcome, error),
) error {
	limit := j.concurrency
	if limit <= 0 {
		limit = j.cluster.Fleet.Limits.Concurrency
	}
	terminal, limiter := newTerminal(j.out), operation.NewLimiter(limit)
	failed := append(slices.Clone(j.refused), concurrently(ctx, j.cluster, names, terminal,
		func(machine config.Machine, progress operation.Progress) (Outcome, error) {
			return do(ctx, machine, limiter, progress)
		})...)
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d machines failed: %s", len(failed), j.selected, strings.Join(failed, ", "))
	}
	return nil
}

// concurrently runs do on all machines at once, prints each outcome, and returns the names of those that failed.
func concurrently[Outcome fmt.Stringer](ctx context.Context, cluster *config.Cluster, names []string,
	terminal *terminal,
	do func(config.Machine, operation.Progress) (Outcome, error),
) []string {
	var mu sync.Mutex
	var failed []string
	var group errgroup.Group
	do = withTraces(ctx, cluster, do)
	for _, name := range names {
		machine, _ := cluster.Machine(name)
		group.Go(func() error {
			outcome, err := do(machine, terminal.of(name))
			if err != nil {
				terminal.line(name, err.Error())
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, name)
				return nil
			}
			terminal.line(name, outcome.String())
			return nil
		})
	}
	_ = group.Wait()
	return failed
}

func names[T any](things []T, name func(T) string) []string {
	var names []string
	for _, thing := range things {
		names = append(names, name(thing))
	}
	return names
}

func nameOf(machine config.Machine) string { return machine.Name }
