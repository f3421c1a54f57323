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

// startScript says on stderr that sudo has let us through, then becomes the command. What it says is random, so that
// nothing that sudo or a login script prints can be taken for it.
const startScript = `printf %s "$1" >&2; shift; exec "$@"`

// Elevated returns a runner that runs commands as root: the client itself when root is logged in, and otherwise sudo.
// sudo's password travels over its standard input, and only after it was asked for.
func (c *Client) Elevated() Runner {
	if c.config.User == DefaultUser {
		return c
	}
	return sudo{c}
}

type sudo struct{ client *Client }

func (s sudo) Run(ctx context.Context, command Command) (Result, error) {
	return s.client.runElevated(ctx, command.Argv, NewOutput(command.Stdout), copyFrom(command.Stdin))
}

// runElevated is what Elevated().Run and uploads share.
func (c *Client) runElevated(ctx context.Context, argv []string, stdout *Output, feed feed) (Result, error) {
	stderr := NewErrors()
	if c.config.User == DefaultUser {
		shown, err := Quote(argv)
		if err != nil {
			return Result{}, err
		}
		status, err := c.inShell(ctx, argv, stdout, stderr, feed)
		return c.result(shown, status, err, stdout, stderr)
	}
	if err := c.sudo.refuses(time.Now()); err != nil {
		return Result{}, errclass.With(errclass.Configuration, err)
	}
	talk := newDialogue(c.config.SudoPassword, stderr)
	shown, err := Quote(append([]string{"sudo"}, argv...))
	if err != nil {
		return Result{}, err
	}
	status, err := c.inShell(ctx, talk.wrap(argv), stdout, talk, talk.feed(feed))
	talk.finish()
	if err == nil && !talk.hasStarted() {
		return Result{ExitCode: status.code}, c.sudoRefused(talk, status)
	}
	if err == nil {
		c.sudo.forgive()
	}
	return c.result(shown, status, err, stdout, stderr)
}

// sudoRefused explains why sudo ended without having started the command.
func (c *Client) sudoRefused(talk *dialogue, status exit) error {
	user, host := c.config.User, c.Host()
	switch prompts, said := talk.story(); {
	case prompts > 0 && c.config.SudoPassword.Empty():
		return configuration("sudo asks user %q on %s for a password, and the Secret has no key sudo-password", user,
			host)
	case prompts > 1:
		err := fmt.Errorf("wrong sudo password for user %q on %s", user, host)
		c.sudo.record(err, time.Now())
		return errclass.With(errclass.Configuration, err)
	case status.code == 127:
		return configuration("becoming root on %s: user %q needs sudo, which is not installed there", host, user)
	case said == "":
		return configuration("sudo refused user %q on %s: it ended with %d and said nothing", user, host, status.code)
	default:
		return configuration("sudo refused user %q on %s: %s", user, host, said)
	}
}

// dialogue is the talk with sudo on a command's stderr and stdin, until the command begins.
type dialogue struct {
	password      secret.Value
	prompt, start string
	rest          io.Writer // the command's own stderr

	mu      sync.Mutex
	heard   []byte // what came before the command began
	came    int    // its length, with what is not kept
	prompts int
	started bool

	ask   chan struct{} // one for the first prompt
	begin chan struct{} // closed when the command has begun
	over  chan struct{} // closed when it will not begin
	once  sync.Once
}

func newDialogue(password secret.Value, rest io.Writer) *dialogue {
	// The prompt may hold no %, which sudo expands.
	return &dialogue{
		password: password, rest: rest,
		prompt: "[argosy asks " + rand.Text() + "]", start: "[argosy begins " + rand.Text() + "]",
		ask: make(chan struct{}, 1), begin: make(chan struct{}), over: make(chan struct{}),
	}
}

// wrap makes the argv that runs argv as root. -k makes sudo ask every time, so that no remembered password hides a
// wrong one; where no password is needed it changes nothing.
func (d *dialogue) wrap(argv []string) []string {
	return append([]string{"sudo", "-S", "-k", "-p", d.prompt, "--", "/bin/sh", "-c", startScript, "sh", d.start},
		argv...)
}

// maxTalk bounds what is kept of sudo's own words.
const maxTalk = 64 << 10

// Write takes the stderr of sudo and then of the command.
func (d *dialogue) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started {
		return d.rest.Write(p)
	}
	d.heard = append(d.heard, p...)
	if d.came += len(p); d.came > maxErrors {
		return 0, Flood("on standard error, before sudo begins", maxErrors)
	}
	if _, after, found := bytes.Cut(d.heard, []byte(d.start)); found {
		d.started = true
		close(d.begin)
		_, err := d.rest.Write(after)
		return len(p), err
	}
	d.count()
	d.heard = d.heard[max(0, len(d.heard)-maxTalk):]
	return len(p), nil
}

func (d *dialogue) count() {
	prompts := bytes.Count(d.heard, []byte(d.prompt))
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

// finish ends the waiting for a command that will not begin any more.
func (d *dialogue) finish() { d.once.Do(func() { close(d.over) }) }

func (d *dialogue) hasStarted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.started
}

// story returns how often sudo asked, and the last thing it said besides.
func (d *dialogue) story() (prompts int, said string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := strings.TrimSpace(strings.ReplaceAll(string(d.heard), d.prompt, ""))
	lines := strings.Split(text, "\n")
	return d.prompts, quotable(strings.TrimSpace(lines[len(lines)-1]))
}

// feed answers sudo's prompt, and hands stdin on once the command reads it. A dialogue that failed closes stdin
// instead, at which sudo gives up by itself.
func (d *dialogue) feed(command feed) feed {
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
