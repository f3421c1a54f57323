package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/docs/docstest"
)

// argumentsOf returns the arguments of a command line that calls argosy, up to a pipe or a redirection.
func argumentsOf(command string) (args []string, ok bool) {
	words := regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(command, -1)
	switch {
	case len(words) > 0 && words[0] == "argosy":
		words = words[1:]
	case len(words) > 1 && words[0] == "kubectl" && words[1] == "argosy":
		words = words[2:]
	default:
		return nil, false
	}
	for _, word := range words {
		if word == "|" || word == ">" || word == "&&" {
			break
		}
		args = append(args, strings.Trim(word, `'"`))
	}
	return args, true
}

// checkCommandLine returns an error where the program refuses a command line before it does anything.
func checkCommandLine(root *cobra.Command, args []string) error {
	root.InitDefaultCompletionCmd()
	command, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if err := command.ParseFlags(rest); err != nil {
		return err
	}
	positional := command.Flags().Args()
	if !command.Runnable() && len(positional) > 0 {
		return unknown(positional[0])
	}
	if err := command.ValidateArgs(positional); err != nil {
		return err
	}
	return command.ValidateRequiredFlags()
}

type unknown string

func (u unknown) Error() string { return "unknown command " + string(u) }

// A page that shows a command that the program refuses is worse than none.
func TestCommandLinesOfPagesAreAccepted(t *testing.T) {
	pages, err := docstest.Pages("../..")
	assert.NilError(t, err)
	found := 0
	for _, page := range pages {
		for _, block := range page.Blocks {
			if block.Language != "sh" {
				continue
			}
			for _, command := range block.Commands() {
				args, ok := argumentsOf(command)
				if !ok {
					continue
				}
				found++
				err := checkCommandLine(rootCommand("argosy"), args)
				assert.Check(t, err, "%s:%d: %s", page.Path, block.Line, command)
			}
		}
	}
	assert.Assert(t, found > 20, "only %d command lines are found", found)
}

func TestWrongCommandLinesAreNotAccepted(t *testing.T) {
	for _, command := range []string{
		"argosy jion", "argosy images lst", "argosy join --machine m1", "argosy join m1", "argosy plan --output",
	} {
		args, ok := argumentsOf(command)
		assert.Assert(t, ok)
		assert.Check(t, checkCommandLine(rootCommand("argosy"), args) != nil, command)
	}
}

// Blocks with the marker run hold commands of argosy alone. A block with the marker output below one holds lines that
// are printed, in their order; a line of … stands for any.
func TestBlocksOfPagesThatAreMarkedRunSucceed(t *testing.T) {
	t.Chdir("../..")
	pages, err := docstest.Pages(".")
	assert.NilError(t, err)
	ran := 0
	for _, page := range pages {
		var printed string
		for _, block := range page.Blocks {
			switch block.Marker {
			case "run":
				printed = runBlock(t, page, block)
				ran++
			case "output":
				assertPrinted(t, page, block, printed)
			}
		}
	}
	assert.Assert(t, ran > 3, "only %d blocks are run", ran)
}

func runBlock(t *testing.T, page docstest.Page, block docstest.Block) (printed string) {
	t.Helper()
	for _, command := range block.Commands() {
		args, ok := argumentsOf(command)
		assert.Assert(t, ok, "%s:%d: only argosy is run, not %s", page.Path, block.Line, command)
		out, _, err := run(t, args...)
		assert.Check(t, err, "%s:%d: %s", page.Path, block.Line, command)
		printed += out
	}
	return printed
}

func assertPrinted(t *testing.T, page docstest.Page, block docstest.Block, printed string) {
	t.Helper()
	rest := printed
	for line := range strings.Lines(block.Text) {
		line = strings.TrimRight(line, "\n")
		if line == "…" {
			continue
		}
		_, after, found := strings.Cut(rest, line)
		assert.Check(t, found, "%s:%d: not printed: %s\n%s", page.Path, block.Line, line, printed)
		rest = after
	}
}
