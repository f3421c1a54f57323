package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"argosy.dev/argosy/test/site"
)

// drift times the inspection of a joined machine for differences, by a process that has just started.
func (b *bench) drift(ctx context.Context) error {
	if err := b.joined(ctx, []string{"m1"}); err != nil {
		return err
	}
	var all []time.Duration
	for range b.rounds {
		began := time.Now()
		out, err := b.site.Argosy(ctx, "plan", "--namespace", site.TeamA, "--cluster", site.TeamA, "--machines",
			"m1")
		if err != nil {
			return err
		}
		all = append(all, time.Since(began))
		if !strings.Contains(out, "is a Ready node") {
			return fmt.Errorf("reading the plan of m1: it is not as wanted:\n%s", out)
		}
	}
	fmt.Printf("drift ours=%.2fs limit=1s rounds=%d\n", median(all).Seconds(), b.rounds)
	return nil
}

const (
	plannedMachines = 200
	// oneWay is half of the round trip to a machine far away.
	oneWay = 10 * time.Millisecond
)

// planMany times a plan of many machines, all simulated SSH servers in this process, each 20 ms away, and counts the
// commands that each was given.
func (b *bench) planMany(ctx context.Context) error {
	machines, err := b.applySimulatedFleet(ctx, plannedMachines, oneWay)
	if err != nil {
		return err
	}
	defer b.forgetSimulatedFleet()
	var all []time.Duration
	for range b.rounds {
		began := time.Now()
		if _, err := b.site.Argosy(ctx, "plan", "--namespace", site.TeamA, "--cluster",
			simulatedFleet); err != nil {
			return err
		}
		all = append(all, time.Since(began))
	}
	execs := int64(0)
	for _, machine := range machines {
		execs += machine.Execs()
	}
	fmt.Printf("plan-%d ours=%.2fs limit=3s execs=%.2f a machine, round trip 20 ms, all simulated SSH servers on the "+
		"same processors, rounds=%d\n",
		plannedMachines, median(all).Seconds(), float64(execs)/float64(plannedMachines*b.rounds), b.rounds)
	return nil
}
