package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/controlplane/kubeconfig"
)

func kubeconfigCommand() *cobra.Command {
	var where place
	var options kubeconfig.Options
	command := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Make a kubeconfig for a user of a provisioned cluster, in a Secret",
		Long: `Has the cluster sign a certificate for a user and their groups, and writes a kubeconfig with it to Secret
<cluster>-kubeconfig-<user>, key value, in the cluster's namespace. What the user may do is decided by RBAC in the
cluster. One that is there and holds for half of the time asked for stays as it is.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := where.provisioner(command.Context())
			if err != nil {
				return err
			}
			return carryOut(command.OutOrStdout(), part{"kubeconfig", func(report func(string)) (fmt.Stringer, error) {
				return kubeconfig.Ensure(command.Context(), provisioner.Cluster, options, report)
			}})
		},
	}
	where.flags(command)
	flags := command.Flags()
	flags.StringVar(&options.User, "user", "", "the name by which the cluster shall know the user")
	flags.StringSliceVar(&options.Groups, "group", nil, "a group that the user is in; may be given several times")
	flags.DurationVar(&options.Life, "expires", kubeconfig.DefaultLife,
		"how long the kubeconfig holds, 10m to 8760h")
	return command
}
