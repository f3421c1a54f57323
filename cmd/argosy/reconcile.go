package main

import (
	"github.com/spf13/cobra"

	"argosy.dev/argosy/pkg/join"
)

func reconcileCommand() *cobra.Command {
	return withPlan(&cobra.Command{
		Use:   "reconcile",
		Short: "Change nodes to match the documents; restart only what changed",
		Long: `Shows how nodes differ from the documents, file by file, and corrects it: files, units, kernel settings,
registries, the kubelet's configuration and arguments, labels and taints. Pods keep running. Machines
that are not nodes yet are skipped; "argosy join" joins them.`,
		Example: `  argosy reconcile --namespace team-a --dry-run
  argosy reconcile --namespace team-a`,
	}, join.Differing, (*join.Joiner).Reconcile)
}
