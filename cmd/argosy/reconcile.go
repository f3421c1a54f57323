package main

import (
	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/factory"
	"argosy.dev/argosy/pkg/join"
)

func reconcileCommand() *cobra.Command {
	var location clusterFlags
	var machines string
	var concurrency int
	var dryRun bool
	command := &cobra.Command{
		Use:   "reconcile",
		Short: "Change nodes to match the documents; restart only what changed",
		Long: `Shows how nodes differ from the documents, file by file, and corrects it: files, units, kernel settings,
registries, the kubelet's configuration and arguments, labels and taints. Pods keep running. Machines
that are not nodes yet are skipped; "argosy join" joins them.`,
		Example: `  argosy reconcile --namespace team-a --dry-run
  argosy reconcile --namespace team-a`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			joiner, done, err := openMachines(command.Context(), &location, factory.Open)
			if err != nil {
				return err
			}
			defer done()
			entries, err := planAndPrint(command, joiner, machines, "table")
			if err != nil {
				return err
			}
			if dryRun {
				return refusedError(entries)
			}
			return runOnMachines(command.Context(), jobOf(joiner, entries, concurrency, command.OutOrStdout()),
				names(join.Differing(entries), machineOf), joiner.Reconcile)
		},
	}
	location.addTo(command)
	machineFlag(command, &machines)
	command.Flags().IntVar(&concurrency, "concurrency", 0,
		concurrencyUsage)
	command.Flags().BoolVar(&dryRun, "dry-run", false, "stop after the plan")
	return command
}
