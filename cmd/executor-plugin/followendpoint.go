package main

import (
	"log/slog"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/endpoints"
	"argosy.dev/argosy/pkg/errclass"
)

// followEndpointCommand is for a container of a control plane whose address is a name, or one among several.
func followEndpointCommand() *cobra.Command {
	var kubeconfig string
	f := &endpoints.Follower{}
	command := &cobra.Command{
		Use:    "follow-endpoint",
		Short:  "Keep Service default/kubernetes of a cluster leading to its control plane's addresses",
		Hidden: true,
		Args:   program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return errclass.Errorf(errclass.Configuration, "reading kubeconfig %q: %w", kubeconfig, err)
			}
			if f.Objects, err = apply.New(config); err != nil {
				return err
			}
			f.CACert, f.Log = config.CAData, slog.New(slog.NewJSONHandler(command.ErrOrStderr(), nil))
			return f.Run(command.Context())
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file by which the API server is reached")
	flags.StringArrayVar(&f.Hosts, "host", nil, "name or address of the control plane; may be repeated")
	flags.IntVar(&f.Port, "port", 0, "port of the API server there")
	flags.BoolVar(&f.IPv4, "ipv4", true, "whether the cluster's Services have addresses of IPv4")
	return command
}
