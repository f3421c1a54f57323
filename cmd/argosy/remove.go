package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/remove"
)

// removeRequest has the flags of "remove".
type removeRequest struct {
	machines    string
	concurrency int
	confirmed   bool
	options     remove.Options
	force       bool
	// timeout of a drain; 0 is drain.timeout of argosy.yaml.
	timeout time.Duration
}

func removeCommand() *cobra.Command {
	var location clusterFlags
	var request removeRequest
	command := &cobra.Command{
		Use:   "remove",
		Short: "Take machines out of the cluster: cordon, drain, reset, and delete their nodes",
		Long: `Tries the eviction of each pod without doing it, and shows what prevents it, which data is lost, and
what would be removed from each machine. With --yes it then drains and resets the machines. A node that
can't be drained is uncordoned. Afterwards remove the machines from argosy.yaml, or the next join joins
them again.

Running it again is safe and finishes an interrupted run. Ctrl-C stops each machine at its next safe
point.`,
		Example: `  argosy remove --namespace team-a --machines m1         show only
  argosy remove --namespace team-a --machines m1 --yes`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := requireMachines(request.machines); err != nil {
				return err
			}
			if request.timeout < 0 {
				return program.UsageErrorf("flag --drain-timeout must not be negative")
			}
			resetter, done, err := openMachines(command.Context(), &location, factory.OpenReset)
			if err != nil {
				return err
			}
			defer done()
			return request.run(command.Context(), &remove.Remover{Resetter: resetter}, command.OutOrStdout())
		},
	}
	location.addTo(command)
	request.flags(command)
	return command
}

func (r *removeRequest) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&r.machines, "machines", "m", "",
		`machines (required): names with commas between, a label selector like zone=a, or "all"`)
	flags.IntVar(&r.concurrency, "concurrency", 1,
		"machines worked on at once; 0 is limits.concurrency of argosy.yaml")
	flags.BoolVar(&r.confirmed, "yes", false, "remove the machines")
	flags.BoolVar(&r.options.Drain, "drain", true, "evict pods first; without it they end with the machine")
	flags.DurationVar(&r.timeout, "drain-timeout", 0, "limit of one drain (default: drain.timeout of argosy.yaml)")
	flags.BoolVar(&r.force, "force", false, "evict also pods that no controller makes again")
	flags.BoolVar(&r.options.Unreachable, "unreachable", false,
		"the machines are dead: do not connect to them, and delete only their nodes")
	flags.BoolVar(&r.options.RemoveVolumes, "remove-volumes", false, "delete also the data of local volumes")
}

// over returns the options, completed by the policy of argosy.yaml.
func (r removeRequest) over(policy config.Drain) remove.Options {
	options := r.options
	options.Policy = policy
	options.Policy.Force = policy.Force || r.force
	if r.timeout > 0 {
		options.Policy.Timeout.Duration = r.timeout
	}
	return options
}

// run prints the plan and removes the machines, unless one is refused or --yes is missing.
func (r removeRequest) run(ctx context.Context, remover *remove.Remover, out io.Writer) error {
	machines, err := remover.Cluster.SelectNamed(r.machines)
	if err != nil {
		return err
	}
	options := r.over(remover.Cluster.Fleet.Drain)
	entries, err := planOn(out, func(progress operation.Progress) ([]remove.Entry, error) {
		return remover.Plan(ctx, machines, options, progress)
	})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, remove.Table(entries)); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	if refused := remove.Refused(entries); len(refused) > 0 {
		return fmt.Errorf("machine %q can't be removed as it is; no machine was changed",
			refused[0].Machine)
	}
	if !r.confirmed {
		return program.UsageErrorf("nothing was changed: a removal cannot be undone; add --yes to do it")
	}
	work := job{cluster: remover.Cluster, concurrency: r.concurrency, selected: len(machines), out: out}
	err = runOnMachines(ctx, work, names(machines, nameOf), func(ctx context.Context, m config.Machine,
		limiter *operation.Limiter, progress operation.Progress,
	) (remove.Outcome, error) {
		return remover.Remove(ctx, m, options, limiter, progress)
	})
	if err != nil || len(remove.Work(entries)) == 0 {
		return err
	}
	_, err = fmt.Fprintf(out, "The machines are removed; %s.\n", remove.Afterwards)
	return err
}
