package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
)

// onRollout completes a command about the rollout of a cluster that is under way, of whatever workflow or terminal.
func onRollout(command *cobra.Command, do func(context.Context, *upgrade.Upgrader, io.Writer) error) *cobra.Command {
	var location clusterFlags
	command.Args = program.NoArguments
	command.RunE = func(command *cobra.Command, _ []string) error {
		upgrader, done, err := location.upgrader(command.Context())
		if err != nil {
			return err
		}
		defer done()
		return do(command.Context(), upgrader, command.OutOrStdout())
	}
	location.addTo(command)
	return command
}

func statusCommand() *cobra.Command {
	var output *outputFormat
	command := onRollout(&cobra.Command{
		Use:   "status",
		Short: "Show how the rollout of a cluster stands: which machines are upgraded, at work, failed or left",
		Long: `Reads the rollout that is under way, whether a workflow or a terminal began it, from the upgraded
cluster; where none is, how the last one left each machine. Changes nothing, and does not connect to machines.`,
		Example: `  argosy status --namespace team-a
  argosy status --namespace team-a --output json`,
	}, func(ctx context.Context, upgrader *upgrade.Upgrader, out io.Writer) error {
		return showStatus(ctx, upgrader, out, output.chosen)
	})
	output = outputFlag(command, "table", "json", "yaml")
	return command
}

func showStatus(ctx context.Context, upgrader *upgrade.Upgrader, out io.Writer, format string) error {
	status, err := upgrader.Status(ctx)
	if err != nil {
		return err
	}
	return printAs(out, format, status, func() error {
		_, err := fmt.Fprintf(out, "%s\n%s", status, status.Table())
		return err
	})
}

func pauseCommand() *cobra.Command {
	return onRollout(&cobra.Command{
		Use:   "pause",
		Short: "Have the rollout of a cluster begin no other machine; those at work finish",
		Long: `The rollout that is under way, of a workflow or of a terminal, waits until "argosy resume". Nodes that
were cordoned for machines to come are uncordoned; bundles are still sent ahead.`,
		Example: "  argosy pause --namespace team-a",
	}, func(ctx context.Context, upgrader *upgrade.Upgrader, out io.Writer) error {
		return ask(ctx, upgrader, out, upgrade.Pause, "is paused; machines at work finish")
	})
}

func resumeCommand() *cobra.Command {
	return onRollout(&cobra.Command{
		Use:     "resume",
		Short:   "Let a rollout that was paused go on",
		Long:    `Takes "argosy pause" back. An approval between waves is not given by it: that is "argo resume".`,
		Example: "  argosy resume --namespace team-a",
	}, func(ctx context.Context, upgrader *upgrade.Upgrader, out io.Writer) error {
		return ask(ctx, upgrader, out, "", "goes on")
	})
}

func abortCommand() *cobra.Command {
	return onRollout(&cobra.Command{
		Use:   "abort",
		Short: "End the rollout of a cluster: machines at work finish, the others stay as they are",
		Long: `No other machine begins; a machine at work is upgraded or rolled back to its end. Each of the others is
noted as left, its node uncordoned where the rollout cordoned it, and the workflow fails. Waits until then. Where
the rollout's process was killed, or its workflow waits for an approval, its Lease has to expire, which takes
a minute; then this command ends what was left half done. Another upgrade goes on with the rest.`,
		Example: "  argosy abort --namespace team-a",
	}, abort)
}

// ask asks something of the rollout under way and tells that it did.
func ask(ctx context.Context, upgrader *upgrade.Upgrader, out io.Writer, asked upgrade.Request, told string) error {
	rollout, err := upgrader.Ask(ctx, asked)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "rollout %s %s\n", rollout, told)
	return err
}

// abort aborts the rollout under way and waits for its end.
func abort(ctx context.Context, upgrader *upgrade.Upgrader, out io.Writer) error {
	rollout, err := upgrader.Ask(ctx, upgrade.Abort)
	if err != nil {
		return err
	}
	terminal := newTerminal(out)
	done, err := upgrader.AwaitEnd(ctx, rollout, operation.AsText(func(text string) { terminal.line("abort", text) }))
	for _, line := range done {
		terminal.line("abort", line)
	}
	if err != nil {
		return fmt.Errorf("waiting for the end of rollout %s, which begins no other machine: %w", rollout, err)
	}
	status, err := upgrader.Status(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n%s", status, status.Table())
	return err
}
