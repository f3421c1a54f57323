package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"gotest.tools/v3/golden"
)

const referenceHead = `# Commands

Every command of ` + "`argosy`" + ` with its flags, for those who work by hand. The page is generated from the program:
` + "`go test ./cmd/argosy -run Reference -update`" + `.

Exit codes: 0 done, 1 a machine or the cluster failed, 2 the documents or the command line are wrong, an unknown command
included, 130 ended at once by a second Ctrl-C. A first Ctrl-C stops machines at their next safe point.

On a terminal, progress is a table of the machines or steps at work, drawn anew as they report; in a pipe it is lines.
Every command has ` + "`--no-color`" + `, and heeds ` + "`NO_COLOR`" + ` in the environment.

For your shell to complete commands and flags, ` + "`source <(argosy completion bash)`" + `; also for zsh,
fish and powershell.
`

// The page is rewritten with -update.
func TestReferenceOfCommandsIsAsTheProgramHasIt(t *testing.T) {
	t.Setenv("HOME", "/home/you")
	t.Setenv("XDG_CACHE_HOME", "/home/you/.cache")
	var page strings.Builder
	page.WriteString(referenceHead)
	root := rootCommand("argosy")
	for _, command := range root.Commands() {
		writeReference(&page, command)
	}
	golden.Assert(t, page.String(), "../../../docs/reference/commands.md")
}

// writeReference writes a command, or the commands that it groups.
func writeReference(page *strings.Builder, command *cobra.Command) {
	if command.Hidden {
		return
	}
	for _, child := range command.Commands() {
		writeReference(page, child)
	}
	if command.HasSubCommands() {
		return
	}
	command.InitDefaultHelpFlag()
	long := cmp.Or(strings.TrimSpace(command.Long), command.Short+".")
	fmt.Fprintf(page, "\n## %s\n\n", command.CommandPath())
	writeIndented(page, long)
	if command.Example != "" {
		fmt.Fprintf(page, "\n<!-- not run: an example of its help -->\n```sh\n%s\n```\n", exampleLines(command.Example))
	}
	if flags := strings.TrimRight(command.LocalFlags().FlagUsages(), "\n"); flags != "" {
		fmt.Fprintf(page, "\n```text\n%s\n```\n", flags)
	}
}

// writeIndented writes a help text, with its indented lines in a block.
func writeIndented(page *strings.Builder, text string) {
	inside := false
	for line := range strings.Lines(text + "\n") {
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		switch {
		case indented && !inside:
			page.WriteString("```text\n")
		case !indented && inside:
			page.WriteString("```\n")
		}
		inside = indented
		if !indented {
			line = strings.ReplaceAll(line, "<", "&lt;") // a page is Markdown, where it begins a tag
		}
		page.WriteString(line)
	}
	if inside {
		page.WriteString("```\n")
	}
}

// exampleLines makes comments of the explanations behind commands.
func exampleLines(example string) string {
	explained := regexp.MustCompile(`(?m)^ *(\S.*?)(?: {2,}(\S.*))?$`)
	return explained.ReplaceAllStringFunc(example, func(line string) string {
		match := explained.FindStringSubmatch(line)
		if match[2] == "" {
			return match[1]
		}
		return match[1] + "   # " + match[2]
	})
}
