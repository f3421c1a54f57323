package main

import (
	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/factory"
	"argosy.dev/argosy/pkg/join"
)

func reconcileCommand() *cobra.Command {
	var where place
	var machines string
	var concurrency int
	var dryRun bool
	command := &cobra.Command{
		Use:   "reconcile",
		Short: "Put right what differs between nodes and the documents; restart only what changed",
		Long: `Shows what differs, file by file, and puts it right: files, units, kernel settings, registries, the kubelet's
configuration and arguments, labels and taints. Pods run on. Running it again finds nothing. Machines that
are no nodes yet are left to join.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			conductor, done, err := opened(command.Context(), &where, factory.Open)
			if err != nil {
				return err
			}
			defer done()
			entries, err := showPlan(command, conductor, machines, "table")
			if err != nil {
				return err
			}
			if dryRun {
				return refusal(entries)
			}
			return each(command.Context(), jobOf(conductor, entries, concurrency, command.OutOrStdout()),
				names(join.Differing(entries), machineOf), conductor.Reconcile)
		},
	}
	where.flags(command)
	machineFlag(command, &machines)
	command.Flags().IntVar(&concurrency, "concurrency", 0,
		"machines worked on at once (default: limits.concurrency of argosy.yaml)")
	command.Flags().BoolVar(&dryRun, "dry-run", false, "only show what differs")
	return command
}
