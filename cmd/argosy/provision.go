package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/controlplane"
	"argosy.dev/argosy/pkg/factory"
)

func provisionCommand() *cobra.Command {
	var where place
	var renew bool
	command := &cobra.Command{
		Use:   "provision",
		Short: "Make a cluster's control plane in the host cluster, or bring it to its documents",
		Long: `Validates, brings the control plane up in the cluster's namespace, sets the addons and verifies, as the
workflow template provision does. Running it again changes nothing where nothing is to change, and finishes
what was interrupted. The admin kubeconfig is then in Secret <cluster>-kubeconfig, key value.

The image of this program, which serves node bundles in the control plane's pod, is taken from
$` + program.ImageVariable + ` (default ` + program.DefaultImage + `), unless argosy.yaml names one.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := where.provisioner(command.Context())
			if err != nil {
				return err
			}
			return provision(command.Context(), provisioner, renew, command.OutOrStdout())
		},
	}
	where.flags(command)
	command.Flags().BoolVar(&renew, "renew-certificates", false,
		"sign every certificate anew, not only those that end within 90 days")
	return command
}

// provisioner opens the cluster of a namespace of the host cluster.
func (p *place) provisioner(ctx context.Context) (*controlplane.Provisioner, error) {
	if p.from != "" {
		return nil, program.UsageErrorf("a control plane is made in the host cluster, and its documents are read " +
			"there: apply the folder, then use --namespace")
	}
	if p.namespace == "" {
		return nil, program.UsageErrorf("say where the cluster is: --namespace of the host cluster")
	}
	if p.cluster == "" {
		p.cluster = p.namespace
	}
	restConfig, err := p.rest()
	if err != nil {
		return nil, err
	}
	return factory.OpenProvisioner(ctx, restConfig, p.namespace, p.cluster, program.Image())
}

// provision runs the parts of the workflow template provision, in its order.
func provision(ctx context.Context, provisioner *controlplane.Provisioner, renew bool, out io.Writer) error {
	return carryOut(out,
		part{"validate", func(report func(string)) (fmt.Stringer, error) {
			message, err := provisioner.Validate(ctx, report)
			return text(message), err
		}},
		part{"control-plane", func(report func(string)) (fmt.Stringer,
			error) {
			return provisioner.Provision(ctx, renew, report)
		}},
		part{"addons", func(report func(string)) (fmt.Stringer, error) { return provisioner.SetAddons(ctx, report) }},
		part{"verify", func(report func(string)) (fmt.Stringer, error) { return provisioner.Verify(ctx, report) }})
}

// part is one step of a workflow, by hand.
type part struct {
	name string
	run  func(report func(string)) (fmt.Stringer, error)
}

// carryOut runs parts one after the other, and shows their progress and their ends.
func carryOut(out io.Writer, parts ...part) error {
	terminal := newTerminal(out)
	for _, part := range parts {
		said, err := part.run(func(line string) { terminal.progress(part.name, line) })
		if err != nil {
			return err
		}
		terminal.line(part.name, said.String())
	}
	return nil
}

// text is a message that is one already.
type text string

func (t text) String() string { return string(t) }
