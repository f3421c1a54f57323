// Command executor-plugin is Argosy's Argo executor plugin, and the same things by hand.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/pkg/errclass"
)

// version is set by the linker.
var version = "development"

// Exit codes, so that scripts can tell a mistake in the documents from a machine that failed.
const (
	exitFailed        = 1
	exitConfiguration = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "executor-plugin:", err)
		os.Exit(exitCode(err))
	}
}

func exitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) || errclass.ClassOf(err) == errclass.Configuration {
		return exitConfiguration
	}
	return exitFailed
}

// usageError is a command line that can't be carried out.
type usageError struct{ error }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "executor-plugin",
		Short: "Give a Kubernetes virtual cluster worker machines of its own",
		Long: `Argosy joins real machines to a Kubernetes cluster over SSH.

In a cluster it runs as an Argo executor plugin ("serve"), called by the steps of the
WorkflowTemplates under workflows/. The other commands do the same by hand, with the same code:

  executor-plugin validate --from examples/team-a          check the documents, touch nothing
  executor-plugin config explain machines.ssh              what a key of them means; config show prints them
  executor-plugin provision --namespace team-b             make a control plane in the host cluster
  executor-plugin plan --namespace team-a --cluster team-a say what a join would do, and why not
  executor-plugin join --namespace team-a --cluster team-a --machines m1,m2
  executor-plugin reconcile --namespace team-a --dry-run   show what differs on nodes; without --dry-run put it right
  executor-plugin remove --namespace team-a --machines m1   say what a removal would meet; --yes drains and resets it
  executor-plugin reset --namespace team-a --machines m1    say what a reset would take away; --yes does it
  executor-plugin images import --namespace team-a --machines m1 oci://registry.example.com/app:v1
  executor-plugin backup --namespace team-b                 store and keys into an archive; restore brings them back
  executor-plugin kubeconfig --namespace team-b --user alice --group developers
  executor-plugin bundle build --kubernetes v1.34.4 -o out node bundles and images out of the official releases

Exit codes: 0 done, 1 a machine or the cluster failed, 2 the documents or the command line are wrong.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(), validateCommand(), configCommand(), provisionCommand(), planCommand(),
		joinCommand(), reconcileCommand(), upgradeCommand(), rollbackCommand(), verifyCommand(), removeCommand(),
		resetCommand(),
		bundleCommand(), imagesCommand(), installToCommand(), awaitEndCommand(), standByCommand(), onMachineCommand(),
		backupCommand(), restoreCommand(), deprovisionCommand(), storeCommand(), kubeconfigCommand())
	return root
}
