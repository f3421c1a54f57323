package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/factory"
)

func provisionCommand() *cobra.Command {
	var location clusterFlags
	var renew bool
	command := &cobra.Command{
		Use:   "provision",
		Short: "Make a cluster's control plane in the host cluster, or change it to match its documents",
		Long: `Validates the documents, makes the control plane in the cluster's namespace, sets the addons and
verifies, as the WorkflowTemplate provision does. Running it again is safe: it changes only what differs
from the documents, and finishes an interrupted run. The admin kubeconfig is then in Secret
<cluster>-kubeconfig, key value.

The image of executor-plugin, which serves node bundles in the control plane's pod, is that of
argosy.yaml, else $` + program.ImageVariable + `, else ` + program.DefaultImage + `.`,
		Example: "  argosy provision --namespace team-b",
		Args:    program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			provisioner, err := location.provisioner(command.Context())
			if err != nil {
				return err
			}
			return provision(command.Context(), provisioner, renew, command.OutOrStdout())
		},
	}
	location.addHostTo(command)
	command.Flags().BoolVar(&renew, "renew-certificates", false,
		"sign every certificate again, not only those that expire within 90 days")
	return command
}

// provisioner opens the cluster, which must be in the host cluster.
func (p *clusterFlags) provisioner(ctx context.Context) (*controlplane.Provisioner, error) {
	if p.from != "" {
		return nil, program.UsageErrorf("flag --from can't be used here, since the control plane's documents are in " +
			"the host cluster: apply the folder with kubectl, then use --namespace")
	}
	if p.namespace == "" {
		return nil, program.UsageErrorf("flag --namespace is required: the cluster's namespace in the host cluster")
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

// provision runs the steps of the WorkflowTemplate provision, in its order.
func provision(ctx context.Context, provisioner *controlplane.Provisioner, renew bool, out io.Writer) error {
	return runSteps(out,
		step{"validate", func(report func(string)) (fmt.Stringer, error) {
			message, err := provisioner.Validate(ctx, report)
			return text(message), err
		}},
		step{"control-plane", func(report func(string)) (fmt.Stringer, error) {
			return provisioner.Provision(ctx, renew, report)
		}},
		step{"addons", func(report func(string)) (fmt.Stringer, error) { return provisioner.SetAddons(ctx, report) }},
		step{"verify", func(report func(string)) (fmt.Stringer, error) { return provisioner.Verify(ctx, report) }})
}

// step is a step of a workflow.
type step struct {
	name string
	run  func(report func(string)) (fmt.Stringer, error)
}

// runSteps runs steps one after the other and prints their outcomes. Their progress is a live table on a terminal, with
// the steps that are to come, and lines elsewhere.
func runSteps(out io.Writer, steps ...step) error { return newTerminal(out).run(steps) }

func (t *terminal) run(steps []step) error {
	for _, step := range steps {
		t.live.row(step.name, "to come")
	}
	for _, step := range steps {
		t.live.row(step.name, "at work")
		outcome, err := step.run(func(line string) { t.progress(step.name, line) })
		if err != nil {
			t.stop(step.name)
			return err
		}
		t.line(step.name, outcome.String())
	}
	return nil
}

// text is an outcome that is only a message.
type text string

func (t text) String() string { return string(t) }
