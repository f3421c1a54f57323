// Package program has the common parts of the programs argosy and executor-plugin: exit codes, errors of the command
// line, and the plugin's image.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
)

// Exit codes, so that scripts can tell a mistake in the documents from a machine that failed.
const (
	ExitFailed        = 1
	ExitConfiguration = 2
)

// Main runs a program's command until it ends or the process is told to end, prints its error and exits.
func Main(root *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// A first Ctrl-C stops machines at their next safe point, which takes a while; a second one ends at once.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	err := Execute(ctx, root)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", root.DisplayName(), err)
		os.Exit(ExitCode(err))
	}
}

// Execute runs a program's command. Mistakes in flags and arguments are usage errors, in all its commands.
func Execute(ctx context.Context, root *cobra.Command) error {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error { return withHelp(command, err) })
	root.InitDefaultCompletionCmd() // with the commands that cobra adds itself
	checkArguments(root)
	checkTopics(root)
	return root.ExecuteContext(ctx)
}

// checkTopics makes help about an unknown command a usage error, which cobra prints and calls a success.
func checkTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, command := range root.Commands() {
		if command.Name() != "help" {
			continue
		}
		command.Args = func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = unknownCommand(found, rest)
			}
			if err != nil {
				return withHelp(root, err)
			}
			return nil
		}
	}
}

// checkArguments makes a command's errors about its arguments usage errors. A command that only groups others prints
// its help, and refuses arguments, which cobra would pass over.
func checkArguments(command *cobra.Command) {
	if command.HasSubCommands() && command.RunE == nil {
		command.Args, command.RunE = unknownCommand, Help
	}
	if check := command.Args; check != nil {
		command.Args = func(command *cobra.Command, args []string) error {
			if err := check(command, args); err != nil {
				return withHelp(command, err)
			}
			return nil
		}
	}
	for _, child := range command.Commands() {
		checkArguments(child)
	}
}

// Help prints a command's help.
func Help(command *cobra.Command, _ []string) error { return command.Help() }

// NoArguments refuses arguments. It names the flag that such an argument is likely meant for.
func NoArguments(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	for _, name := range []string{"namespace", "machines"} {
		if flag := command.Flags().Lookup(name); flag != nil && !flag.Changed {
			return fmt.Errorf("%q takes no arguments, not %q, did you mean %q?", command.CommandPath(), args[0],
				"--"+name+" "+args[0])
		}
	}
	return fmt.Errorf("%q takes no arguments, not %q", command.CommandPath(), args[0])
}

// OneArgument refuses any other number of arguments than one, which is described as "the name of one machine".
func OneArgument(described string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return fmt.Errorf("%q takes %s, not %s", command.CommandPath(), described, count.Of(len(args), "argument"))
	}
}

func unknownCommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	command.SuggestionsMinimumDistance = 2 // as cobra's own
	if similar := command.SuggestionsFor(args[0]); len(similar) > 0 {
		return fmt.Errorf("unknown command %q, did you mean %q?", args[0], similar[0])
	}
	return fmt.Errorf("unknown command %q", args[0])
}

// withHelp adds the way out to an error about a command line.
func withHelp(command *cobra.Command, err error) error {
	return UsageErrorf("%w; see %q", err, command.CommandPath()+" --help")
}

// ExitCode returns the exit code for an error.
func ExitCode(err error) int {
	if IsUsage(err) || errclass.ClassOf(err) == errclass.Configuration {
		return ExitConfiguration
	}
	return ExitFailed
}

// usageError is a command line that can't be carried out.
type usageError struct{ error }

// UsageErrorf formats an error about the command line, which ends the program with ExitConfiguration.
func UsageErrorf(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// IsUsage reports whether an error is about the command line.
func IsUsage(err error) bool { return errors.As(err, new(usageError)) }
