// Command bench measures Argosy on the lab and prints one line per figure, as a ratio to the same work done by hand in
// the same run, so that anyone can compare on any machine:
//
//	join-1 ratio=1.18 ours=5.2s floor=4.4s
//
// Both sides run in turn, several times; medians are printed. Figures with nothing to compare them to name their goal,
// where there is one. It never fails because something is slow.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// bench is one run.
type bench struct {
	site   *site.Site
	rounds int
	// caller is the Workflow that calls for cluster team-a belong to.
	caller workflow
	// warm reports that the host machine has the images of hosted control planes.
	warm bool
}

// figures by name, in the order in which they run.
var figures = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"join-1", (*bench).joinOne},
	{"join-3", (*bench).joinThree},
	{"again", (*bench).again},
	{"upload", (*bench).upload},
	{"import-1", (*bench).importOne},
	{"import-3", (*bench).importThree},
	{"memory", (*bench).memory},
	{"drift", (*bench).drift},
	{"plan", (*bench).planMany},
	{"upgrade-1", (*bench).upgradeOne},
	{"waves", (*bench).waves},
	{"submit", (*bench).submit},
	{"provision", (*bench).provision},
	{"provision-again", (*bench).provisionAgain},
	{"replace-1", (*bench).replaceOne},
	{"replace-2", (*bench).replaceTwo},
	{"ten", (*bench).ten},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rounds := flag.Int("rounds", 5, "how often each side runs")
	only := flag.String("only", "", "figures to run, with commas between (default: all)")
	flag.Parse()
	work := func() error { return run(ctx, *rounds, *only) }
	if flag.Arg(0) == followVerb {
		work = func() error { return follow(ctx, flag.Arg(1), flag.Arg(2)) }
	}
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, only string) error {
	l, err := lab.Open()
	if err != nil {
		return err
	}
	if err := l.Claim("the benchmarks"); err != nil {
		return err
	}
	if err := l.Up(ctx); err != nil {
		return err
	}
	s, err := site.New(l)
	if err != nil {
		return err
	}
	if err := s.Deploy(ctx); err != nil {
		return err
	}
	b := &bench{site: s, rounds: rounds}
	if b.caller, err = b.makeWorkflow(ctx, site.TeamA); err != nil {
		return err
	}
	defer b.forgetWorkflow(b.caller)
	for _, figure := range figures {
		if only != "" && !slices.Contains(strings.Split(only, ","), figure.name) {
			continue
		}
		if err := figure.run(b, ctx); err != nil {
			return fmt.Errorf("measuring %s: %w", figure.name, err)
		}
	}
	return nil
}

// pair runs both sides in turn and prints their medians.
func (b *bench) pair(name string, ours, floor func() (time.Duration, error)) error {
	mine, theirs, err := b.inTurn(ours, floor)
	if err != nil {
		return err
	}
	fmt.Printf("%s ratio=%.2f ours=%.2fs floor=%.2fs rounds=%d\n", name, mine.Seconds()/theirs.Seconds(),
		mine.Seconds(), theirs.Seconds(), b.rounds)
	return nil
}

// inTurn runs both sides in turn and returns their medians.
func (b *bench) inTurn(ours, floor func() (time.Duration, error)) (mine, theirs time.Duration, err error) {
	var all [2][]time.Duration
	for range b.rounds {
		for i, side := range []func() (time.Duration, error){floor, ours} {
			took, err := side()
			if err != nil {
				return 0, 0, err
			}
			all[i] = append(all[i], took)
		}
	}
	return median(all[1]), median(all[0]), nil
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
