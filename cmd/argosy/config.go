package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
)

func configCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "config",
		Short: "Show and explain the two documents of a cluster",
		Long: `A cluster is described by vcluster.yaml, in the schema of vCluster, and argosy.yaml, which holds what
that schema lacks: the machines, how to reach them, where their binaries come from. To check documents,
use "argosy validate".`,
		Example: `  argosy config explain machines.ssh            explain a key, and what a change of it needs
  argosy config show --defaults                 the defaults
  argosy config show -n team-a                  both documents of a cluster, completed by the defaults
  argosy config show -n team-a --machine gpu-1  the settings of one machine, and which of them are its own
  argosy config schema argosy.yaml              the JSON schema, for editors`,
	}
	command.AddCommand(configShowCommand(), configSchemaCommand(), configExplainCommand())
	return command
}

// documents returns the named document, or both.
func documents(args []string) ([]string, error) {
	if len(args) == 0 {
		return []string{config.VClusterDocument, config.FleetDocument}, nil
	}
	return args, knownDocument(args[0])
}

func knownDocument(name string) error {
	if name != config.VClusterDocument && name != config.FleetDocument {
		return program.UsageErrorf("unknown document %q: only %s and %s are known", name, config.VClusterDocument,
			config.FleetDocument)
	}
	return nil
}

func configShowCommand() *cobra.Command {
	var location clusterFlags
	var machine, output string
	var defaults bool
	command := &cobra.Command{
		Use:   "show [vcluster.yaml|argosy.yaml]",
		Short: "Print the documents of a cluster, completed by the defaults",
		Long: `Prints both documents of a cluster, or one of them, as Argosy understands them: with all defaults, and
with new names in place of old ones. Secrets are shown as <redacted>. Mistakes in the documents are
listed instead, as by validate.

With --defaults it prints the defaults; no cluster is needed. With --machine it prints the settings of
that machine: the defaults, over them vcluster.yaml, over that the machine's own "join" in argosy.yaml,
which the comments list.`,
		Example: `  argosy config show --namespace team-a
  argosy config show argosy.yaml --from examples/team-a --cluster team-a
  argosy config show --namespace team-a --machine gpu-1`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			wanted, err := documents(args)
			switch {
			case err != nil:
				return err
			case output != "yaml":
				return program.UsageErrorf("flag --output %q: only yaml is known", output)
			case defaults && machine != "":
				return program.UsageErrorf("flag --defaults excludes --machine: the defaults are those of all machines")
			case defaults:
				return printDocuments(command.OutOrStdout(), wanted, config.PrintedDefaults)
			}
			cluster, err := location.load(command.Context())
			if err != nil {
				return err
			}
			if machine != "" {
				return showMachine(command.OutOrStdout(), cluster, machine)
			}
			return printDocuments(command.OutOrStdout(), wanted, cluster.Printed)
		},
	}
	location.addTo(command)
	flags := command.Flags()
	flags.BoolVar(&defaults, "defaults", false, "print the defaults; no cluster is needed")
	flags.StringVar(&machine, "machine", "", "print the settings of one machine")
	flags.StringVarP(&output, "output", "o", "yaml", "output format: yaml")
	return command
}

// load reads and checks the documents of the cluster; unlike documents, it has no defaults in place of missing flags.
func (p *clusterFlags) load(ctx context.Context) (*config.Cluster, error) {
	source, _, err := p.open()
	if err != nil {
		return nil, err
	}
	return config.Load(ctx, source, p.cluster)
}

// printDocuments writes documents, each with its name, as one stream of YAML.
func printDocuments(out io.Writer, documents []string, printed func(string) ([]byte, error)) error {
	for i, document := range documents {
		text, err := printed(document)
		if err != nil {
			return fmt.Errorf("printing %s: %w", document, err)
		}
		separator := ""
		if i > 0 {
			separator = "---\n"
		}
		if _, err := fmt.Fprintf(out, "%s# %s\n%s", separator, document, text); err != nil {
			return err
		}
	}
	return nil
}

func showMachine(out io.Writer, cluster *config.Cluster, name string) error {
	machines, err := cluster.Select(name)
	if err != nil {
		return err
	}
	for i, machine := range machines {
		text, err := cluster.PrintedMachine(machine)
		if err != nil {
			return err
		}
		separator := ""
		if i > 0 {
			separator = "---\n"
		}
		if _, err := fmt.Fprintf(out, "%s%s", separator, text); err != nil {
			return err
		}
	}
	return nil
}

func configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema vcluster.yaml|argosy.yaml",
		Short: "Print the JSON schema of a document, for editors to complete and check with",
		Long: `Prints the JSON schema of a document (draft 2020-12). In VS Code, save it beside the documents and begin
them with

  # yaml-language-server: $schema=argosy.schema.json

The schema has keys, types, allowed values and defaults. Rules about several keys are checked by
validate alone.`,
		Example:   "  argosy config schema argosy.yaml > argosy.schema.json",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{config.VClusterDocument, config.FleetDocument},
		RunE: func(command *cobra.Command, args []string) error {
			if err := knownDocument(args[0]); err != nil {
				return err
			}
			_, err := io.WriteString(command.OutOrStdout(), config.Schema(args[0]))
			return err
		},
	}
}

func configExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [KEY]",
		Short: "Explain a key: its meaning, type and default, where it takes effect, and what a change of it needs",
		Long: `Explains a key of either document, as "kubectl explain" does. Items of lists may be left out or written:
machines.ssh.port, machines[].ssh.port and machines[2].ssh.port are one key. Without a key it lists the
sections.`,
		Example: "  argosy config explain machines.ssh",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return explain(command.OutOrStdout(), strings.Join(args, ""), command.CommandPath())
		},
	}
}

// explain writes the explanation of a key, for each document that has it. name is how the program was called.
func explain(out io.Writer, path, name string) error {
	var pages []string
	for _, document := range []string{config.VClusterDocument, config.FleetDocument} {
		if key, inside, found := config.FindKey(document, path); found {
			pages = append(pages, explanation(key, inside))
		}
	}
	if len(pages) == 0 {
		advice := fmt.Sprintf("%q lists the sections", name)
		if similar := config.SimilarKeys(path); len(similar) > 0 {
			advice = "did you mean " + strings.Join(similar, ", ") + "?"
		}
		return program.UsageErrorf("unknown key %q in both documents; %s", path, advice)
	}
	_, err := io.WriteString(out, strings.Join(pages, "\n"))
	return err
}

// explanation returns the page about one key.
func explanation(key config.Key, inside []config.Key) string {
	var page strings.Builder
	table := tabwriter.NewWriter(&page, 0, 8, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s:\t%s\n", name, value)
		}
	}
	row("KEY", cmp.Or(key.Key, "all"))
	row("DOCUMENT", key.Document)
	row("TYPE", key.Type)
	row("ALLOWED", strings.Join(key.Allowed, ", "))
	if key.Required {
		row("REQUIRED", "yes")
	}
	row("DEFAULT", key.Default)
	row("EXAMPLE", key.Example)
	if !key.Section {
		row("EFFECT AT", string(key.At))
		row("A CHANGE", fmt.Sprintf("%s: %s", key.Effect, config.EffectMeaning(key.Effect)))
	}
	_ = table.Flush()
	sentences := append([]string{key.Meaning}, key.Refused...)
	for i, sentence := range append(sentences, key.RefusedInside...) {
		switch {
		case sentence == "":
		case i == 0:
			fmt.Fprintf(&page, "\n%s\n", folded(sentence))
		case i < len(sentences):
			fmt.Fprintf(&page, "\n%s\n", folded("Anything more is refused: it "+sentence+"."))
		default:
			fmt.Fprintf(&page, "\n%s\n", folded("In it, "+sentence+"."))
		}
	}
	if len(inside) > 0 {
		page.WriteString("\nKEYS:\n")
		listed := tabwriter.NewWriter(&page, 0, 8, 2, ' ', 0)
		for _, k := range inside {
			name := strings.TrimPrefix(strings.TrimPrefix(k.Key, key.Key), ".")
			fmt.Fprintf(listed, "  %s\t<%s>\t%s\n", name, k.Type, firstSentence(k.Meaning))
		}
		_ = listed.Flush()
	}
	return page.String()
}

// foldAt is the width of an explanation, in characters.
const foldAt = 100

// folded breaks a text into lines of at most foldAt characters.
func folded(text string) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > foldAt {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return strings.Join(append(lines, line), "\n")
}

func firstSentence(text string) string {
	if first, _, found := strings.Cut(text, ". "); found {
		return first + "."
	}
	return text
}
