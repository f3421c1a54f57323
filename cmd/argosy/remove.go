package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/factory"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/remove"
)

// removeRequest is what a removal by hand was asked for.
type removeRequest struct {
	machines    string
	concurrency int
	confirmed   bool
	options     remove.Options
	force       bool
	// timeout of a drain; 0 takes the fleet's.
	timeout time.Duration
}

func removeCommand() *cobra.Command {
	var where place
	var request removeRequest
	command := &cobra.Command{
		Use:   "remove",
		Short: "Take machines out of the cluster: cordon, drain, reset, and delete their nodes",
		Long: `Tries the eviction of each pod without doing it, and shows what is in the way, what is lost, and what there is to
take away from each machine. Only with --yes the machines leave, drained first. A node that can't be drained takes
pods again. Afterwards take the machines out of argosy.yaml, or the next join brings them back.

Running it again is safe and finishes what was interrupted. Ctrl-C stops each machine at its next safe point.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := sayWhich(request.machines); err != nil {
				return err
			}
			if request.timeout < 0 {
				return program.UsageErrorf("--drain-timeout is less than nothing")
			}
			conductor, done, err := opened(command.Context(), &where, factory.OpenReset)
			if err != nil {
				return err
			}
			defer done()
			return request.carryOut(command.Context(), &remove.Conductor{Conductor: conductor}, command.OutOrStdout())
		},
	}
	where.flags(command)
	request.flags(command)
	return command
}

func (r *removeRequest) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&r.machines, "machines", "m", "",
		`which machines: names with commas between, a label selector like zone=a, or "all"`)
	flags.IntVar(&r.concurrency, "concurrency", 1,
		"machines that leave at once; 0 for limits.concurrency of argosy.yaml")
	flags.BoolVar(&r.confirmed, "yes", false, "do it")
	flags.BoolVar(&r.options.Drain, "drain", true, "evict pods before; without it they end with the machine")
	flags.DurationVar(&r.timeout, "drain-timeout", 0, "how long one drain may take (default: drain.timeout of "+
		"argosy.yaml)")
	flags.BoolVar(&r.force, "force", false, "evict also pods that no controller brings back")
	flags.BoolVar(&r.options.Unreachable, "unreachable", false,
		"the machines are dead: do not contact them, and remove only their nodes")
	flags.BoolVar(&r.options.RemoveVolumes, "remove-volumes", false, "remove also the data of local volumes")
}

// over completes the options by the fleet's policy.
func (r removeRequest) over(policy config.Drain) remove.Options {
	options := r.options
	options.Policy = policy
	options.Policy.Force = policy.Force || r.force
	if r.timeout > 0 {
		options.Policy.Timeout.Duration = r.timeout
	}
	return options
}

// carryOut shows the plan, refuses when a machine is refused or nobody said yes, and removes the machines.
func (r removeRequest) carryOut(ctx context.Context, conductor *remove.Conductor, out io.Writer) error {
	machines, err := conductor.Cluster.SelectNamed(r.machines)
	if err != nil {
		return err
	}
	options := r.over(conductor.Cluster.Fleet.Drain)
	entries, err := conductor.Plan(ctx, machines, options, func(string) {})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, remove.Table(entries)); err != nil {
		return fmt.Errorf("showing the plan: %w", err)
	}
	if refused := remove.Refused(entries); len(refused) > 0 {
		return fmt.Errorf("machine %s can't be removed as it is; nothing was touched, also not on the others",
			refused[0].Machine)
	}
	if !r.confirmed {
		return program.UsageErrorf("nothing was touched: this cannot be undone, so say --yes")
	}
	work := job{cluster: conductor.Cluster, concurrency: r.concurrency, asked: len(machines), out: out}
	err = each(ctx, work, names(machines, nameOf), func(ctx context.Context, m config.Machine, window *operation.Limiter,
		report func(string)) (remove.Outcome, error) {
		return conductor.Remove(ctx, m, options, window, report)
	})
	if err != nil || len(remove.Work(entries)) == 0 {
		return err
	}
	_, err = fmt.Fprintf(out, "The machines have left; %s.\n", remove.Afterwards)
	return err
}
