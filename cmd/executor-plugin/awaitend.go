package main

import (
	"context"
	"net"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
)

// awaitEndCommand is for the container with the store, in a pod that ends: all containers are told to end at once, and
// the store has to outlive the API server.
func awaitEndCommand() *cobra.Command {
	var address string
	var atMost time.Duration
	command := &cobra.Command{
		Use:    "await-end",
		Short:  "Wait until no server listens at an address any more",
		Hidden: true,
		Args:   program.NoArguments,
		Run: func(command *cobra.Command, _ []string) {
			ctx, cancel := context.WithTimeout(command.Context(), atMost)
			defer cancel()
			awaitEnd(ctx, address)
		},
	}
	command.Flags().StringVar(&address, "address", "", "host:port of the server that is to end first")
	command.Flags().DurationVar(&atMost, "at-most", 0, "how long to wait")
	return command
}

// lastRequests is how long a server that takes no new connections may still work on earlier requests.
const lastRequests = time.Second

// awaitEnd returns when a server has ended, or with the context.
func awaitEnd(ctx context.Context, address string) {
	var dialer net.Dialer
	for ctx.Err() == nil {
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			sleep(ctx, lastRequests)
			return
		}
		_ = connection.Close()
		sleep(ctx, 100*time.Millisecond)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
