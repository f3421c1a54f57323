package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/machine"
)

// logsRequest has the flags of "logs".
type logsRequest struct {
	machine   string
	operation string
	follow    bool
	// every is the time between two looks at a log that is followed.
	every time.Duration
}

func logsCommand() *cobra.Command {
	var location clusterFlags
	request := logsRequest{every: time.Second}
	command := &cobra.Command{
		Use:   "logs MACHINE",
		Short: "Print the log of the newest operation on a machine, also while it is at work",
		Long: `Reads the log that argosy-node writes on the machine, over SSH: of the newest operation, or of the one
whose id a message names. With --follow it prints more until the operation has ended. Nothing is changed. The
operation and its state go to standard error.`,
		Example: `  argosy logs gpu-1 --namespace team-a
  argosy logs gpu-1 --namespace team-a --follow`,
		Args: program.OneArgument("the name of one machine"),
		RunE: func(command *cobra.Command, args []string) error {
			request.machine = args[0]
			connections, done, err := openMachines(command.Context(), &location, factory.OpenConnections)
			if err != nil {
				return err
			}
			defer done()
			return request.run(command.Context(), connections, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	location.addTo(command)
	command.Flags().BoolVar(&request.follow, "follow", false, "print more until the operation has ended")
	command.Flags().StringVar(&request.operation, "operation", "", "id of the operation (default: the newest)")
	return command
}

// run prints the log, and more of it where it is followed.
func (r logsRequest) run(ctx context.Context, connections *factory.Connections, out, told io.Writer) error {
	selected, err := connections.Cluster.SelectNamed(r.machine)
	if err != nil {
		return err
	}
	if len(selected) != 1 {
		return program.UsageErrorf("a log is that of one machine, and %q are %d: %s", r.machine, len(selected),
			strings.Join(names(selected, nameOf), ", "))
	}
	of := selected[0]
	state := ""
	for from := int64(0); ; {
		connection, err := connections.Connect(ctx, of)
		if err != nil {
			return err
		}
		log, err := machine.ReadLog(ctx, connection, r.operation, from)
		if err != nil {
			return fmt.Errorf("machine %q (%s): %w", of.Name, of.Address, err)
		}
		if log.ID == "" {
			return fmt.Errorf("machine %q has no such operation: none of Argosy has run there, or it was reset",
				of.Name)
		}
		r.operation, from = log.ID, log.Next
		if now := string(log.Status.State); now != state {
			state = now
			if _, err := fmt.Fprintf(told, "machine %s: operation %s %s\n", of.Name, log.ID, state); err != nil {
				return err
			}
		}
		if _, err := out.Write(log.Text); err != nil {
			return err
		}
		if log.Complete() || !r.follow && len(log.Text) == 0 {
			return nil
		}
		if !r.follow {
			continue // there may be more than one part
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(r.every):
		}
	}
}
