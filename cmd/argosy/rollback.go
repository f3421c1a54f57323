package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
)

// rollbackRequest has the flags of "rollback".
type rollbackRequest struct {
	machines  string
	confirmed bool
}

func rollbackCommand() *cobra.Command {
	var location clusterFlags
	var request rollbackRequest
	command := &cobra.Command{
		Use:   "rollback",
		Short: "Undo the last upgrade of machines",
		Long: `Shows what would be restored on each machine and which pods would be evicted. With --yes it then restores
the binaries, units and configuration that a machine had before its last upgrade, one machine after
another: its node is cordoned, drained, and uncordoned when it is Ready at the old version. A machine that
was not upgraded is refused, and none is changed. After a failure the other machines are left as they
are. The control plane stays as it is. "argosy pause", "resume" and "abort" act on it as on an upgrade.`,
		Example: `  argosy rollback --namespace team-a --machines gpu-1       show only
  argosy rollback --namespace team-a --machines gpu-1 --yes`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := requireMachines(request.machines); err != nil {
				return err
			}
			upgrader, done, err := location.upgrader(command.Context())
			if err != nil {
				return err
			}
			defer done()
			return request.run(command.Context(), upgrader, command.OutOrStdout())
		},
	}
	location.addTo(command)
	command.Flags().StringVarP(&request.machines, "machines", "m", "",
		`machines (required): names with commas between, a label selector like zone=a, or "all"`)
	command.Flags().BoolVar(&request.confirmed, "yes", false, "roll the machines back")
	return command
}

// run prints the plan and rolls the machines back, unless one is refused or --yes is missing.
func (r rollbackRequest) run(ctx context.Context, upgrader *upgrade.Upgrader, out io.Writer) error {
	machines, err := upgrader.Cluster.SelectNamed(r.machines)
	if err != nil {
		return err
	}
	entries, err := planOn(out, func(progress operation.Progress) ([]upgrade.RollbackEntry, error) {
		return upgrader.PlanRollback(ctx, machines, progress)
	})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, upgrade.RollbackTable(entries)); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	if refused := upgrade.RollbackRefused(entries); len(refused) > 0 {
		return fmt.Errorf("machine %q can't be rolled back as it is; no machine was changed", refused[0].Machine)
	}
	work := upgrade.RollbackWork(entries)
	switch {
	case len(work) == 0:
		return nil
	case !r.confirmed:
		return program.UsageErrorf("nothing was changed: a rollback evicts pods and takes nodes out of service; add " +
			"--yes to do it")
	}
	return r.rollBack(ctx, upgrader, len(machines), work, out)
}

// rollBack rolls the machines of a plan back, one after another, and releases the Lease.
func (r rollbackRequest) rollBack(ctx context.Context, upgrader *upgrade.Upgrader, selected int,
	work []upgrade.RollbackEntry, out io.Writer,
) error {
	left, why := 0, ""
	err := runOnMachines(ctx, job{cluster: upgrader.Cluster, concurrency: 1, selected: selected, out: out},
		names(work, func(e upgrade.RollbackEntry) string { return e.Machine }),
		func(ctx context.Context, m config.Machine, limiter *operation.Limiter, progress operation.Progress) (
			upgrade.Outcome, error,
		) {
			outcome, err := upgrader.Rollback(ctx, m, limiter, progress)
			if outcome.Left != "" {
				left, why = left+1, outcome.Left // one machine at a time works
			}
			return outcome, err
		})
	if left > 0 {
		err = fmt.Errorf("%w; %d left as they are", cmp.Or(err, errors.New(why)), left)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_ = upgrader.End(ending) // where it fails, the Lease expires
	return err
}

// releaseTimeout bounds the release of the Lease after a rollback; it expires after a minute anyway.
const releaseTimeout = 10 * time.Second
