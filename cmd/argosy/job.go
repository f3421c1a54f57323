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

// job is work on machines of a cluster that somebody follows at a terminal.
type job struct {
	cluster *config.Cluster
	// concurrency is how many machines are worked on at once; 0 for the fleet's limit.
	concurrency int
	// asked is how many machines were asked for, and refused are those of them that can't be worked on: they count as
	// failed.
	asked   int
	refused []string
	out     io.Writer
}

// each has the machines of these names worked on, and returns an error that names those that failed or were refused.
func each[Outcome fmt.Stringer](ctx context.Context, j job, names []string,
	do func(context.Context, config.Machine, *operation.Limiter, func(string)) (Outcome, error)) error {
	limit := j.concurrency
	if limit <= 0 {
		limit = j.cluster.Fleet.Limits.Concurrency
	}
	terminal, window := newTerminal(j.out), operation.NewLimiter(limit)
	failed := append(slices.Clone(j.refused), abreast(j.cluster, names, terminal,
		func(machine config.Machine, report func(string)) (Outcome, error) {
			return do(ctx, machine, window, report)
		})...)
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d machines failed: %s", len(failed), j.asked, strings.Join(failed, ", "))
	}
	return nil
}

// abreast does something with each machine at once and prints how it ended; it returns the names of those that failed.
func abreast[Outcome fmt.Stringer](cluster *config.Cluster, names []string, terminal *terminal,
	do func(config.Machine, func(string)) (Outcome, error)) []string {
	var mu sync.Mutex
	var failed []string
	var group errgroup.Group
	for _, name := range names {
		machine, _ := cluster.Machine(name)
		group.Go(func() error {
			outcome, err := do(machine, func(text string) { terminal.progress(name, text) })
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
