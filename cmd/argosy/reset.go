package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/factory"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// resetRequest is what a reset by hand was asked for.
type resetRequest struct {
	machines    string
	concurrency int
	confirmed   bool
	options     reset.Options
}

func resetCommand() *cobra.Command {
	var where place
	var request resetRequest
	command := &cobra.Command{
		Use:   "reset",
		Short: "Make machines of the cluster clean again, prove it, and delete their nodes",
		Long: `Shows what there is to take away from each machine: pods, containers and images, credentials, binaries, network
links and rules, mounts, files. Only with --yes it does so. Pods end at once: drain nodes before whose pods should
move. A machine that is another cluster's node is refused untouched. What the machine's owner brought stays.

Running it again is safe and finishes what was interrupted. Ctrl-C stops each machine at its next safe point.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := sayWhich(request.machines); err != nil {
				return err
			}
			conductor, done, err := opened(command.Context(), &where, factory.OpenReset)
			if err != nil {
				return err
			}
			defer done()
			return request.carryOut(command.Context(), conductor, command.OutOrStdout())
		},
	}
	where.flags(command)
	flags := command.Flags()
	flags.StringVarP(&request.machines, "machines", "m", "",
		`which machines: names with commas between, a label selector like zone=a, or "all"`)
	flags.IntVar(&request.concurrency, "concurrency", 0, "machines worked on at once (default: limits.concurrency of "+
		"argosy.yaml)")
	flags.BoolVar(&request.confirmed, "yes", false, "do it")
	flags.BoolVar(&request.options.ClusterGone, "cluster-gone", false,
		"there is no cluster any more: do not ask it, and know its machines by its name in their records")
	flags.BoolVar(&request.options.RemoveVolumes, "remove-volumes", false, "remove also the data of local volumes")
	return command
}

// sayWhich refuses a command that takes machines away and is not told which.
func sayWhich(machines string) error {
	if machines == "" {
		return program.UsageErrorf(`say which machines: --machines with names, a label selector, or "all"`)
	}
	return nil
}

// carryOut shows the plan, refuses when a machine is refused or nobody said yes, and resets the machines.
func (r resetRequest) carryOut(ctx context.Context, conductor *reset.Conductor, out io.Writer) error {
	machines, err := conductor.Cluster.SelectNamed(r.machines)
	if err != nil {
		return err
	}
	entries, err := conductor.Plan(ctx, machines, r.options)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, reset.Table(entries)); err != nil {
		return fmt.Errorf("showing the plan: %w", err)
	}
	for _, entry := range entries {
		if entry.Action == reset.ActionRefuse {
			return fmt.Errorf("machine %s can't be reset as it is; nothing was touched, also not on the others",
				entry.Machine)
		}
	}
	if !r.confirmed {
		return program.UsageErrorf("nothing was touched: this cannot be undone, so say --yes")
	}
	work := job{cluster: conductor.Cluster, concurrency: r.concurrency, asked: len(machines), out: out}
	return each(ctx, work, names(machines, nameOf), func(ctx context.Context, m config.Machine, window *operation.Limiter,
		report func(string)) (reset.Outcome, error) {
		return conductor.Reset(ctx, m, r.options, window, report)
	})
}
