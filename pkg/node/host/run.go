package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Command is a program to start. Its arguments are passed as they are, no shell sees them.
type Command struct {
	Argv []string
	// Env are variables beside the inherited ones, "NAME=value".
	Env []string
	// Stdin is the program's input; nil for none. A file is handed over as it is.
	Stdin io.Reader
	// Log gets the output as it comes; nil for none.
	Log io.Writer
}

// String returns the command as it can be pasted into a shell. Secrets never travel in arguments, so it is safe to
// show.
func (c Command) String() string {
	words := make([]string, len(c.Argv))
	for i, word := range c.Argv {
		words[i] = quote(word)
	}
	return strings.Join(words, " ")
}

// quote returns a word as a POSIX shell reads it.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("_-./:=@,+%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Runner starts programs and waits for them.
type Runner interface {
	// Run returns standard output and standard error together, in the order they came. For another exit code than 0 the
	// error is a *CommandError.
	Run(ctx context.Context, c Command) ([]byte, error)
}

// CommandError is the error of a program that could not be started or failed.
type CommandError struct {
	Command Command
	Output  []byte
	Err     error
}

func (e *CommandError) Error() string {
	message := fmt.Sprintf("running %q: %v", e.Command.String(), e.Err)
	if tail := e.Tail(1); len(tail) == 1 {
		message += ": " + tail[0]
	}
	return message
}

func (e *CommandError) Unwrap() error { return e.Err }

// Tail is the last n lines of the output that are not empty.
func (e *CommandError) Tail(n int) []string { return Tail(e.Output, n) }

// controlSequence is how programs colour their output for a terminal; kubeadm does so into files as well.
var controlSequence = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// Tail is the last n lines of output that are not empty, without colours: they end in messages that no terminal shows.
func Tail(output []byte, n int) []string {
	var lines []string
	for line := range strings.Lines(controlSequence.ReplaceAllString(string(output), "")) {
		if line = strings.TrimRight(line, "\r\n\t "); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-n):]
}

// Processes runs real programs.
type Processes struct{}

var _ Runner = Processes{}

// patience bounds the time that a program has to end after SIGTERM, and the wait for its output when processes that it
// started still hold that open.
const patience = 10 * time.Second

// Run starts the program in a process group of its own: when ctx ends, the group gets SIGTERM, and the processes that
// are left in it SIGKILL when the program has ended, or ten seconds later. It dies with this process, so that it never
// runs beside the next operation.
func (Processes) Run(ctx context.Context, c Command) ([]byte, error) {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin = c.Stdin
	cmd.Stdout = &output
	if c.Log != nil {
		cmd.Stdout = io.MultiWriter(&output, c.Log)
	}
	cmd.Stderr = cmd.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = patience
	// Pdeathsig is sent when the thread that started the child ends, so the thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		// Processes that the program started may have ignored SIGTERM.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		}
		return output.Bytes(), &CommandError{Command: c, Output: output.Bytes(), Err: err}
	}
	return output.Bytes(), nil
}
