package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/errclass"
)

// storeRunMemberCommand is the command of a member's container: at every start, also in a pod that stays, etcd's data
// may be gone.
func storeRunMemberCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run-member -- ETCD ARGUMENTS",
		Short: "Become a member of etcd, as soon as the others expect it",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if os.Getenv(store.InitialClusterState) == store.MemberJoins {
				err := store.AwaitMembership(command.Context(), args[1:], printTo(command.ErrOrStderr()))
				if err != nil {
					return err
				}
			}
			path, err := exec.LookPath(args[0])
			if err == nil {
				err = syscall.Exec(path, args, os.Environ())
			}
			return errclass.With(errclass.Permanent, fmt.Errorf("starting %q: %w", args[0], err))
		},
	}
}
