package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
)

func diffCommand() *cobra.Command {
	var location clusterFlags
	var machines string
	command := &cobra.Command{
		Use:   "diff",
		Short: "Show how machines differ from the documents, file by file, and nothing of those that do not",
		Long: `Inspects the machines over SSH and changes nothing. Shows which are no nodes, run another version or
can't be inspected, and of nodes each file, argument, label and taint that differs. Ends with 1 where
something differs. The control plane is not compared.`,
		Example: "  argosy diff --namespace team-a",
		Args:    program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			joiner, done, err := openMachines(command.Context(), &location, factory.Open)
			if err != nil {
				return err
			}
			defer done()
			selected, err := joiner.Cluster.Select(machines)
			if err != nil {
				return err
			}
			entries, err := planWith(newTerminal(command.ErrOrStderr()),
				func(progress operation.Progress) ([]join.Entry, error) {
					return joiner.Plan(command.Context(), selected, progress)
				})
			if err != nil {
				return err
			}
			return printDiff(command.OutOrStdout(), entries)
		},
	}
	location.addTo(command)
	machineFlag(command, &machines)
	return command
}

// printDiff prints the machines of a plan that differ from the documents; the error counts them.
func printDiff(out io.Writer, entries []join.Entry) error {
	var differing []join.Entry
	for _, entry := range entries {
		if entry.Action != join.ActionNothing {
			differing = append(differing, entry)
		}
	}
	if len(differing) == 0 {
		_, err := fmt.Fprintf(out, "no differences: %d of %d machines are as the documents have them\n", len(entries),
			len(entries))
		return err
	}
	text := join.Table(differing)
	if diffs := join.Diffs(differing); diffs != "" {
		text += "\n" + diffs
	}
	if _, err := io.WriteString(out, text); err != nil {
		return err
	}
	return fmt.Errorf("%d of %d machines differ from the documents", len(differing), len(entries))
}
