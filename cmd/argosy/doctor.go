package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/doctor"
)

// verifyCommand is doctor by the name that it had first.
func verifyCommand() *cobra.Command {
	command := doctorCommand()
	command.Use, command.Hidden = "verify", true
	return command
}

func doctorCommand() *cobra.Command {
	var location clusterFlags
	var controller string
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Check that Argo and a namespace of the host cluster are ready for Argosy's workflows",
		Long: `Reads the host cluster and changes nothing. Each line of the result is a check, and "ok" or the problem
and its way out. Each problem was seen to make workflows hang or fail without a message.`,
		Example: "  argosy doctor --namespace team-a",
		Args:    program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if location.namespace == "" {
				return program.UsageErrorf("flag --namespace is required: the namespace that workflows run in")
			}
			restConfig, err := location.rest()
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(restConfig)
			if err != nil {
				return fmt.Errorf("making a client for the host cluster %q: %w", restConfig.Host, err)
			}
			argo, err := versioned.NewForConfig(restConfig)
			if err != nil {
				return fmt.Errorf("making a client for the host cluster %q: %w", restConfig.Host, err)
			}
			checks, err := doctor.Run(command.Context(), client, argo, doctor.Installation{
				Namespace: location.namespace, Controller: controller, Release: version,
			})
			if err != nil {
				return err
			}
			return printChecks(command, checks)
		},
	}
	command.Flags().StringVarP(&location.namespace, "namespace", "n", "", "namespace that workflows run in (required)")
	command.Flags().StringVar(&controller, "controller", "",
		"Deployment of the workflow controller, as NAMESPACE/NAME (default: all that may serve the namespace)")
	command.Flags().StringVar(&location.kubeconfig, "kubeconfig", "", kubeconfigUsage)
	return command
}

func printChecks(command *cobra.Command, checks []doctor.Check) error {
	table := tabwriter.NewWriter(command.OutOrStdout(), 0, 0, 2, ' ', 0)
	problems := 0
	for _, check := range checks {
		state := "ok"
		if check.Problem != "" {
			problems++
			state = check.Problem
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\n", check.Name, state)
	}
	_ = table.Flush()
	if problems > 0 {
		return fmt.Errorf("%d of %d checks found a problem; see the table above", problems, len(checks))
	}
	return nil
}
