package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/controlplane/kubeconfig"
)

func kubeconfigCommand() *cobra.Command {
	var location clusterFlags
	var options kubeconfig.Options
	command := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Make a kubeconfig for a user of a provisioned cluster, in a Secret",
		Long: `Has the cluster sign a certificate for a user and their groups, and writes a kubeconfig with it to Secret
<cluster>-kubeconfig-<user>, key value, in the cluster's namespace. RBAC in the cluster decides what the user may do.
A kubeconfig that is valid for at least half of --expires is kept.`,
		Example: "  argosy kubeconfig --namespace team-b --user alice --group developers --expires 720h",
		Args:    program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := location.provisioner(command.Context())
			if err != nil {
				return err
			}
			return runSteps(command.OutOrStdout(), step{"kubeconfig", func(report func(string)) (fmt.Stringer, error) {
				return kubeconfig.Ensure(command.Context(), provisioner.Cluster, options, report)
			}})
		},
	}
	location.addHostTo(command)
	flags := command.Flags()
	flags.StringVar(&options.User, "user", "", "name of the user in the cluster (required)")
	flags.StringSliceVar(&options.Groups, "group", nil, "group of the user; may be given several times")
	flags.DurationVar(&options.Life, "expires", kubeconfig.DefaultLife,
		"how long the kubeconfig is valid, from 10m to 8760h")
	return command
}
