// Command argosy runs the operations of Argosy's workflows by hand, with the same code, and builds node bundles.
package main

import (
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
)

// version is set by the linker.
var version = "development"

func main() { program.Main(rootCommand(nameFor(os.Args[0]))) }

// nameFor returns how the program was called: kubectl runs a program named kubectl-argosy for "kubectl argosy".
func nameFor(path string) string {
	if filepath.Base(path) == "kubectl-argosy" {
		return "kubectl argosy"
	}
	return "argosy"
}

func rootCommand(name string) *cobra.Command {
	root := &cobra.Command{
		Use:         "argosy",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: name},
		Short:       "Give a Kubernetes virtual cluster worker machines of its own",
		Long: `Argosy joins real machines to a Kubernetes cluster over SSH. In a cluster with Argo its workflows do so;
this program does the same by hand, with the same code.

Exit codes: 0 done, 1 a machine or the cluster failed, 2 the documents or the command line are wrong, 130
ended at once by a second Ctrl-C. A first one stops machines at their next safe point.

On a terminal, progress is a table of the machines at work; in a pipe it is lines. --no-color, or NO_COLOR in
the environment, is without colors.`,
		Example: `  argosy init --cluster team-a                               ask for machines, write both documents
  argosy validate --from examples/team-a --cluster team-a    check the documents, touch nothing
  argosy config explain machines.ssh                         what a key of them means; config show prints them
  argosy doctor --namespace team-a                           check that Argo and the namespace are ready
  argosy provision --namespace team-b                        make a control plane in the host cluster
  argosy get machines --namespace team-a                     how they stand, as workflows found them last
  argosy plan --namespace team-a                             say what a join would do, and why not
  argosy join --namespace team-a --machines m1,m2
  argosy logs m1 --namespace team-a --follow                 what the newest operation on a machine writes
  argosy diff --namespace team-a                             how machines differ from the documents
  argosy reconcile --namespace team-a --dry-run              show what differs on nodes; without --dry-run put it right
  argosy upgrade --namespace team-a                          machines to their control plane's version
  argosy status --namespace team-a                           how that goes; pause, resume and abort stop it
  argosy remove --namespace team-a --machines m1             say what a removal would meet; --yes drains and resets it
  argosy reset --namespace team-a --machines m1              say what a reset would take away; --yes does it
  argosy images import --namespace team-a --machines m1 oci://registry.example.com/app:v1
  argosy backup --namespace team-b                           store and keys into an archive; restore brings them back
  argosy kubeconfig --namespace team-b --user alice --group developers
  argosy bundle build --kubernetes v1.37.2 --output bundles  node bundles and images out of the official releases`,
		Version: version,
	}
	plain := root.PersistentFlags().Bool("no-color", false, "print no colors; so does NO_COLOR in the environment")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if *plain {
			return os.Setenv(noColor, "1")
		}
		return nil
	}
	root.AddCommand(validateCommand(), configCommand(), doctorCommand(), verifyCommand(), provisionCommand(),
		planCommand(), joinCommand(), reconcileCommand(), upgradeCommand(), statusCommand(),
		pauseCommand(), resumeCommand(), abortCommand(), rollbackCommand(), removeCommand(),
		resetCommand(), bundleCommand(), imagesCommand(), backupCommand(), restoreCommand(), deprovisionCommand(),
		kubeconfigCommand(), getCommand(), initCommand(), logsCommand(), diffCommand(), reportCommand())
	traced(root)
	rename(root, name)
	return root
}

// commandLine is the beginning of a command line in a help text: of an example, or in quotes.
var commandLine = regexp.MustCompile(`(?m)(^ *|")argosy `)

// rename makes the command lines in all help texts begin with name.
func rename(command *cobra.Command, name string) {
	command.Long = commandLine.ReplaceAllString(command.Long, "${1}"+name+" ")
	command.Example = commandLine.ReplaceAllString(command.Example, "${1}"+name+" ")
	for _, child := range command.Commands() {
		rename(child, name)
	}
}
