// Command executor-plugin is Argosy's Argo executor plugin, with the other commands that pods of Argosy run. People use
// argosy.
package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
)

// version is set by the linker.
var version = "development"

func main() { program.Main(rootCommand()) }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "executor-plugin",
		Short: "Run the steps of Argosy's workflows",
		Long: `The sidecar of Argo's agent pods that runs the steps of Argosy's workflows ("serve"), and the
commands that pods of Argosy run. The program for people is "argosy".`,
		Version: version,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %[1]q: executor-plugin has only the commands that pods run; "+
					"others are argosy's, as in \"argosy %[1]s\"", args[0])
			}
			return nil
		},
		// A flag of a command that is not here must not hide that the command is not.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE:               program.Help,
		CompletionOptions:  cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(serveCommand(), bundleCommand(), storeCommand(), installToCommand(), awaitEndCommand(),
		followEndpointCommand(), standByCommand(), onMachineCommand(), exporterCommand())
	return root
}
