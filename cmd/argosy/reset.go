package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// resetRequest has the flags of "reset".
type resetRequest struct {
	machines    string
	concurrency int
	confirmed   bool
	options     reset.Options
}

func resetCommand() *cobra.Command {
	var location clusterFlags
	var request resetRequest
	command := &cobra.Command{
		Use:   "reset",
		Short: "Remove all that a node needs from machines, verify it, and delete their nodes",
		Long: `Shows what would be removed from each machine: pods, containers and images, credentials, binaries,
network links and rules, mounts, files. With --yes it then removes it. Pods end at once; to drain the
nodes first, use "argosy remove". A machine that is another cluster's node is refused and not changed.
Files of the machine's owner stay.

Running it again is safe and finishes an interrupted run. Ctrl-C stops each machine at its next safe
point.`,
		Example: `  argosy reset --namespace team-a --machines m1          show only
  argosy reset --namespace team-a --machines m1 --yes`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := requireMachines(request.machines); err != nil {
				return err
			}
			resetter, done, err := openMachines(command.Context(), &location, factory.OpenReset)
			if err != nil {
				return err
			}
			defer done()
			return request.run(command.Context(), resetter, command.OutOrStdout())
		},
	}
	location.addTo(command)
	flags := command.Flags()
	flags.StringVarP(&request.machines, "machines", "m", "",
		`machines (required): names with commas between, a label selector like zone=a, or "all"`)
	flags.IntVar(&request.concurrency, "concurrency", 0, concurrencyUsage)
	flags.BoolVar(&request.confirmed, "yes", false, "reset the machines")
	flags.BoolVar(&request.options.ClusterGone, "cluster-gone", false,
		"the cluster is gone: do not connect to it, and accept its name in the machines' records")
	flags.BoolVar(&request.options.RemoveVolumes, "remove-volumes", false, "delete also the data of local volumes")
	return command
}

// requireMachines refuses an empty selection: a command that removes machines has no default for it.
func requireMachines(machines string) error {
	if machines == "" {
		return program.UsageErrorf(`flag --machines is required: names, a label selector, or "all"`)
	}
	return nil
}

// run prints the plan and resets the machines, unless one is refused or --yes is missing.
func (r resetRequest) run(ctx context.Context, resetter *reset.Resetter, out io.Writer) error {
	machines, err := resetter.Cluster.SelectNamed(r.machines)
	if err != nil {
		return err
	}
	entries, err := resetter.Plan(ctx, machines, r.options)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, reset.Table(entries)); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	for _, entry := range entries {
		if entry.Action == reset.ActionRefuse {
			return fmt.Errorf("machine %q can't be reset as it is; no machine was changed",
				entry.Machine)
		}
	}
	if !r.confirmed {
		return program.UsageErrorf("nothing was changed: a reset cannot be undone; add --yes to do it")
	}
	work := job{cluster: resetter.Cluster, concurrency: r.concurrency, selected: len(machines), out: out}
	return runOnMachines(ctx, work, names(machines, nameOf), func(ctx context.Context, m config.Machine,
		limiter *operation.Limiter, progress operation.Progress,
	) (reset.Outcome, error) {
		return resetter.Reset(ctx, m, r.options, limiter, progress)
	})
}
