package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

// startScript prints a random word on stderr once sudo has let us through, then becomes the command. No output of sudo
// or of a login script can be taken for it.
const startScript = `printf %s "$1" >&2; shift; exec "$@"`

// Elevated returns a runner that runs commands as root: the client itself when root is logged in, and otherwise sudo.
// sudo's password travels over its standard input, and only after it was asked for.
func (c *Client) Elevated() Runner {
	if c.config.User == defaultUser {
		return c
	}
	return sudo{c}
}

type sudo struct{ client *Client }

func (s sudo) Run(ctx context.Context, command Command) (Result, error) {
	return s.client.runElevated(ctx, command.Argv, NewOutput(command.Stdout), copyFrom(command.Stdin))
}

// runElevated runs a command as root, for Elevated().Run and for uploads.
func (c *Client) runElevated(ctx context.Context, argv []string, stdout *Output, input inputFunc) (Result, error) {
	stderr := NewErrors()
	if c.config.User == defaultUser {
		shown, err := Quote(argv)
		if err != nil {
			return Result{}, err
		}
		status, err := c.runInShell(ctx, argv, stdout, stderr, input)
		return c.result(shown, status, err, stdout, stderr)
	}
	if err := c.sudo.blocked(time.Now()); err != nil {
		return Result{}, errclass.With(errclass.Configuration, err)
	}
	dialog := newSudoDialog(c.config.SudoPassword, stderr)
	shown, err := Quote(append([]string{"sudo"}, argv...))
	if err != nil {
		return Result{}, err
	}
	status, err := c.runInShell(ctx, dialog.wrap(argv), stdout, dialog, dialog.input(input))
	dialog.finish()
	if err == nil && !dialog.hasStarted() {
		return Result{ExitCode: status.code}, c.sudoError(dialog, status)
	}
	if err == nil {
		c.sudo.reset()
	}
	return c.result(shown, status, err, stdout, stderr)
}

// sudoError explains why sudo ended without having started the command.
func (c *Client) sudoError(dialog *sudoDialog, status exit) error {
	user, host := c.config.User, c.host()
	switch prompts, said := dialog.result(); {
	case prompts > 0 && c.config.SudoPassword.Empty():
		return configuration("sudo asks user %q on %s for a password: add the key sudo-password to the Secret", user,
			host)
	case prompts > 1:
		err := fmt.Errorf("wrong sudo password for user %q on %s", user, host)
		c.sudo.record(err, time.Now(), loginSteps(false))
		return errclass.With(errclass.Configuration, err)
	case status.code == 127:
		return configuration("becoming root on %s: user %q needs sudo, which is not installed there", host, user)
	case said == "":
		return configuration("sudo refused user %q on %s: it exited with %d and printed nothing", user, host,
			status.code)
	default:
		return configuration("sudo refused user %q on %s: %s", user, host, said)
	}
}

// sudoDialog answers sudo's prompt on a command's stderr and stdin, until the command begins.
type sudoDialog struct {
	password      secret.Value
	prompt, start string
	rest          io.Writer // the command's own stderr

	mu      sync.Mutex
	output  []byte // what came before the command began
	came    int    // its length, with what is not kept
	prompts int
	started bool

	ask   chan struct{} // one for the first prompt
	begin chan struct{} // closed when the command has begun
	over  chan struct{} // closed when it will not begin
	once  sync.Once
}

func newSudoDialog(password secret.Value, rest io.Writer) *sudoDialog {
	// The prompt may hold no %, which sudo expands.
	return &sudoDialog{
		password: password, rest: rest,
		prompt: "[argosy asks " + rand.Text() + "]", start: "[argosy begins " + rand.Text() + "]",
		ask: make(chan struct{}, 1), begin: make(chan struct{}), over: make(chan struct{}),
	}
}

// wrap returns the argv that runs argv as root. -k makes sudo ask every time, so that no remembered password hides a
// wrong one; where no password is needed it changes nothing.
func (d *sudoDialog) wrap(argv []string) []string {
	return append([]string{"sudo", "-S", "-k", "-p", d.prompt, "--", "/bin/sh", "-c", startScript, "sh", d.start},
		argv...)
}

// maxSudoOutput bounds how much of sudo's own output is kept, in bytes.
const maxSudoOutput = 64 << 10

// Write takes the stderr of sudo and then of the command.
func (d *sudoDialog) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started {
		return d.rest.Write(p)
	}
	d.output = append(d.output, p...)
	if d.came += len(p); d.came > maxErrors {
		return 0, Flood("on standard error, before sudo begins", maxErrors)
	}
	if _, after, found := bytes.Cut(d.output, []byte(d.start)); found {
		d.started = true
		close(d.begin)
		_, err := d.rest.Write(after)
		return len(p), err
	}
	d.count()
	d.output = d.output[max(0, len(d.output)-maxSudoOutput):]
	return len(p), nil
}

func (d *sudoDialog) count() {
	prompts := bytes.Count(d.output, []byte(d.prompt))
	if prompts == d.prompts {
		return
	}
	d.prompts = prompts
	if prompts == 1 && !d.password.Empty() {
		d.ask <- struct{}{}
		return
	}
	d.finish()
}

// finish ends the wait for a command that will not begin any more.
func (d *sudoDialog) finish() { d.once.Do(func() { close(d.over) }) }

func (d *sudoDialog) hasStarted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started
}

// result returns how often sudo asked, and the last line of its other output.
func (d *sudoDialog) result() (prompts int, said string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := strings.TrimSpace(strings.ReplaceAll(string(d.output), d.prompt, ""))
	lines := strings.Split(text, "\n")
	return d.prompts, quotable(strings.TrimSpace(lines[len(lines)-1]))
}

// input answers sudo's prompt, and passes stdin on once the command reads it. A dialog that failed closes stdin
// instead, at which sudo gives up by itself.
func (d *sudoDialog) input(command inputFunc) inputFunc {
	return func(stdin io.Writer) error {
		for {
			select {
			case <-d.ask:
				if _, err := io.WriteString(stdin, d.password.Reveal()+"\n"); err != nil {
					return nil
				}
			case <-d.begin:
				return command(stdin)
			case <-d.over:
				return nil
			}
		}
	}
}
