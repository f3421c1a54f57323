package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// RunError is a command that ended badly, with its output.
type RunError struct {
	Argv   []string
	Output string
	Err    error
}

// Error returns the command in a form that can be pasted into a shell, and the
// last lines of its output.
func (e *RunError) Error() string {
	text := fmt.Sprintf("running %s: %v", quoteArgv(e.Argv), e.Err)
	if tail := lastLines(e.Output, 12); tail != "" {
		text += "\n" + tail
	}
	return text
}

// Unwrap returns the cause, usually an *exec.ExitError.
func (e *RunError) Unwrap() error { return e.Err }

// run runs argv and returns its standard output; its error holds both streams.
func run(ctx context.Context, argv ...string) (string, error) {
	return runInput(ctx, nil, argv...)
}

// runInput is run with something on standard input.
func runInput(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	return runCmd(cmd, stdin)
}

func runCmd(cmd *exec.Cmd, stdin io.Reader) (string, error) {
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &problems
	if err := cmd.Run(); err != nil {
		return out.String(), &RunError{Argv: cmd.Args, Output: out.String() + problems.String(), Err: err}
	}
	return out.String(), nil
}

func quoteArgv(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = quote(arg)
	}
	return strings.Join(quoted, " ")
}

// quote makes one shell word of s, and leaves plain words readable.
func quote(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("-_./:=@,+%", r) &&
			(r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
