package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// outputFormat is the value of flag --output. Any other than those that the command knows is refused with the command
// line, and not when the work is done.
type outputFormat struct {
	chosen string
	known  []string
}

// outputFlag adds flag --output, whose first format is the default.
func outputFlag(command *cobra.Command, known ...string) *outputFormat {
	format := &outputFormat{chosen: known[0], known: known}
	command.Flags().VarP(format, "output", "o", "output format: "+format.list("or"))
	_ = command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(known, cobra.ShellCompDirectiveNoFileComp))
	return format
}

// String implements pflag.Value.
func (f *outputFormat) String() string { return f.chosen }

// Set implements pflag.Value.
func (f *outputFormat) Set(format string) error {
	if !slices.Contains(f.known, format) {
		return fmt.Errorf("only %s are known", f.list("and"))
	}
	f.chosen = format
	return nil
}

// Type implements pflag.Value.
func (f *outputFormat) Type() string { return "string" }

func (f *outputFormat) list(last string) string {
	end := len(f.known) - 1
	return strings.Join(f.known[:end], ", ") + " " + last + " " + f.known[end]
}

// printAs prints a value for programs as json or yaml, and in every other format by table.
func printAs(out io.Writer, format string, value any, table func() error) error {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(value)
	case "yaml":
		text, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("encoding the output: %w", err)
		}
		_, err = out.Write(text)
		return err
	}
	return table()
}
