package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"argosy.dev/argosy/internal/count"
)

// endGrace is how long a command has, after it was sent a signal, to end by itself.
const endGrace = 2 * time.Second

// Command is a command to run on a machine.
type Command struct {
	// Argv is the program and its arguments. They reach it exactly as they are here.
	Argv []string
	// Stdin is read until its end, or until the command has ended; a Read under way then is not waited for. Nil: no
	// input.
	Stdin io.Reader
	// Stdout, when not nil, gets the output as it comes; Result then keeps only the last 16 KiB. It has to bound the
	// bytes that it keeps: an error of its Write ends the command, and is in the chain of Run's.
	Stdout io.Writer
}

// Result is the output and the exit code of a command.
type Result struct {
	// Stdout is the command's own output; beyond 4 MiB, Run returns ErrFlood. Stderr is the last 256 KiB.
	Stdout, Stderr []byte
	// Truncated: Stdout is only the end, which is so only where it was passed on as it came.
	Truncated bool
	// ExitCode is 0 unless the error is an *ExitError.
	ExitCode int
}

// Runner runs commands on one machine, as one user. An error is an *ExitError when the command ran and did not exit
// with 0.
type Runner interface {
	Run(ctx context.Context, command Command) (Result, error)
}

// Run runs a command as the user who is logged in. When ctx ends, the command is sent SIGTERM and cut off. OpenSSH
// delivers no signal to a command of root or of sudo: it sees only the end of its input and a closed output.
func (c *Client) Run(ctx context.Context, command Command) (Result, error) {
	shown, err := Quote(command.Argv)
	if err != nil {
		return Result{}, err
	}
	stdout, stderr := NewOutput(command.Stdout), NewErrors()
	status, err := c.runInShell(ctx, command.Argv, stdout, stderr, copyFrom(command.Stdin))
	return c.result(shown, status, err, stdout, stderr)
}

// result returns the result and the error of a command that runInShell ran.
func (c *Client) result(shown string, status exit, err error, stdout, stderr *Output) (Result, error) {
	result := Result{ExitCode: status.code}
	result.Stdout, result.Truncated = stdout.Seal()
	result.Stderr, _ = stderr.Seal()
	if err != nil {
		return result, err
	}
	if status.code != 0 {
		return result, &ExitError{
			Host: c.host(), Command: shown, ExitCode: status.code, Signal: status.signal,
			Tail: LastLines(result.Stdout, result.Stderr),
		}
	}
	return result, nil
}

// runInShell has the user's login shell run argv, and passes on the output of argv alone. All commands go this way.
func (c *Client) runInShell(ctx context.Context, argv []string, stdout, stderr io.Writer,
	input inputFunc,
) (exit, error) {
	out := &outputFilter{delimiters: newDelimiters(), next: stdout}
	errs := &outputFilter{delimiters: newDelimiters(), next: stderr}
	line, err := commandLine(argv, out.delimiters, errs.delimiters)
	if err != nil {
		return exit{}, err
	}
	status, err := c.execute(ctx, line, out, errs, input)
	out.flush()
	errs.flush()
	begun, ended, code, noise := out.state()
	if noise != "" {
		c.noisy.Store(true)
	}
	if err != nil {
		return exit{}, err
	}
	begunToo, endedToo, codeToo, noiseToo := errs.state()
	switch {
	case !begun && !begunToo:
		return exit{}, c.shellError(status, noise, noiseToo)
	case ended:
		return exitOf(code), nil // a shell around /bin/sh may have ended in its own way
	case endedToo:
		return exitOf(codeToo), nil
	case status.code == 0:
		return exit{}, transient("running a command on %s: %w", c.host(), errNoEnd)
	default:
		return status, nil
	}
}

// errNoEnd: /bin/sh was killed, and a shell around it hid that.
var errNoEnd = errors.New("it was ended before it could report its exit code")

// exit is how a command ended.
type exit struct {
	code   int
	signal string
}

// inputFunc writes a command's input. Its error is that of the input's source; input that the command did not read is
// not an error.
type inputFunc func(stdin io.Writer) error

func copyFrom(source io.Reader) inputFunc {
	return func(stdin io.Writer) error {
		if source == nil {
			return nil
		}
		return copyInput(stdin, source, make([]byte, 64<<10))
	}
}

// copyInput copies source to stdin. It returns the error of a source that breaks, and none of a reader that has gone.
func copyInput(stdin io.Writer, source io.Reader, buffer []byte) error {
	for {
		n, readErr := source.Read(buffer)
		if n > 0 {
			if _, err := stdin.Write(buffer[:n]); err != nil {
				return nil
			}
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

// execute runs one line of shell text and waits for it. An error means that there is no exit status.
func (c *Client) execute(ctx context.Context, line string, stdout, stderr io.Writer, input inputFunc) (exit, error) {
	broken := make(chan error, 2)
	running, err := c.start(ctx, line, &notifyingWriter{stdout, broken}, &notifyingWriter{stderr, broken})
	if err != nil {
		return exit{}, err
	}
	defer running.close()
	return c.await(ctx, running, broken, input)
}

// await feeds a command that runs and waits for it. broken gets the error of an output that takes no more.
func (c *Client) await(ctx context.Context, running *running, broken <-chan error, input inputFunc) (exit, error) {
	fed := make(chan error, 1)
	ended := make(chan error, 1)
	if !c.spawn(func() { ended <- running.session.Wait() }) {
		return exit{}, transient("running a command on %s: %w", c.host(), errLost)
	}
	// Not waited for: a source may block in Read for as long as it likes. It ends at the latest when it next writes.
	go func() {
		err := input(running.stdin)
		if err == nil {
			_ = running.stdin.Close()
		}
		fed <- err
	}()

	for {
		select {
		case err := <-ended:
			select {
			case err := <-broken:
				return exit{}, c.outputError(ctx, err)
			default:
				return c.ended(ctx, err)
			}
		case err := <-broken:
			running.abort(ended)
			return exit{}, c.outputError(ctx, err)
		case err := <-fed:
			if err != nil {
				running.stop(ended)
				return exit{}, fmt.Errorf("reading the input for a command on %s: %w", c.host(), err)
			}
			fed = nil
		case <-ctx.Done():
			running.stop(ended)
			return exit{}, contextError(ctx, "running a command on "+c.host())
		}
	}
}

// notifyingWriter sends the first error of a writer to a channel.
type notifyingWriter struct {
	to     io.Writer
	broken chan<- error
}

func (r *notifyingWriter) Write(p []byte) (int, error) {
	n, err := r.to.Write(p)
	if err != nil {
		select {
		case r.broken <- err:
		default:
		}
	}
	return n, err
}

// outputError returns the error of a command whose output is not read any further.
func (c *Client) outputError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return contextError(ctx, "running a command on "+c.host())
	}
	return fmt.Errorf("reading the output of a command on %s, which was ended: %w", c.host(), err)
}

func (c *Client) ended(ctx context.Context, err error) (exit, error) {
	var status *xssh.ExitError
	switch {
	case err == nil:
		return exit{}, nil
	case errors.As(err, &status):
		return exit{code: status.ExitStatus(), signal: status.Signal()}, nil
	case ctx.Err() != nil:
		return exit{}, contextError(ctx, "running a command on "+c.host())
	case lost(err), !c.Alive():
		c.abandon()
		return exit{}, transient("running a command on %s: %w", c.host(), errLost)
	default:
		return exit{}, fmt.Errorf("running a command on %s: %w", c.host(), err)
	}
}

// running is a command that runs, with its slot among the connection's sessions.
type running struct {
	client  *Client
	session *xssh.Session
	stdin   *input
	release func()
}

// start opens a session and starts the line in it. On a dead line both would wait for the keepalive, so they happen
// beside the caller, who may leave.
func (c *Client) start(ctx context.Context, line string, stdout, stderr io.Writer) (*running, error) {
	select {
	case c.sessions <- struct{}{}:
	case <-c.done:
		return nil, transient("running a command on %s: %w", c.host(), errLost)
	case <-ctx.Done():
		return nil, contextError(ctx, "waiting to run a command on "+c.host())
	}
	type started struct {
		running *running
		err     error
	}
	var abandoned atomic.Bool
	opened := make(chan started, 1)
	alive := c.spawn(func() {
		r, err := c.open(line, stdout, stderr)
		if err != nil {
			<-c.sessions
		}
		opened <- started{r, err}
		if abandoned.Load() && err == nil {
			r.close()
		}
	})
	if !alive {
		<-c.sessions
		return nil, transient("running a command on %s: %w", c.host(), errLost)
	}
	select {
	case s := <-opened:
		return s.running, s.err
	case <-ctx.Done():
		abandoned.Store(true)
		// The side that sees the session last closes it; closing twice does no harm.
		select {
		case s := <-opened:
			if s.err == nil {
				s.running.close()
			}
		default:
		}
		return nil, contextError(ctx, "starting a command on "+c.host())
	}
}

func (c *Client) open(line string, stdout, stderr io.Writer) (*running, error) {
	session, err := c.newSession()
	if err != nil {
		return nil, err
	}
	session.Stdout, session.Stderr = stdout, stderr
	stdin, err := session.StdinPipe()
	if err == nil {
		err = session.Start(line)
	}
	if err != nil {
		_ = session.Close()
		return nil, transient("starting a command on %s: %w", c.host(), err)
	}
	var released atomic.Bool
	release := func() {
		if released.CompareAndSwap(false, true) {
			c.closed.Add(1)
			<-c.sessions
		}
	}
	return &running{client: c, session: session, stdin: &input{pipe: stdin}, release: release}, nil
}

// newSession opens a session. sshd counts a session that was closed until it has worked off all that it read at once,
// so it can refuse one for which there is room. It has forgotten the closed ones by the time it answers a request, so a
// refused session is opened anew after that, for as long as others were closed meanwhile.
func (c *Client) newSession() (*xssh.Session, error) {
	for forgotten := int64(-1); ; {
		closed := c.closed.Load()
		session, err := c.conn.NewSession()
		if err == nil {
			return session, nil
		}
		var refused *xssh.OpenChannelError
		if errors.As(err, &refused) && closed == forgotten {
			return nil, transient("opening a session on %s: sshd refused one beside %s; if it goes on, raise "+
				"MaxSessions in its sshd_config (default 10): %s", c.host(), count.Of(len(c.sessions)-1, "other"),
				quotable(refused.Message))
		}
		if refused != nil {
			forgotten = c.closed.Load()
			_, _, err = c.conn.SendRequest(keepalive, true, nil)
		}
		if err != nil {
			c.abandon()
			return nil, transient("opening a session on %s: %w", c.host(), err)
		}
	}
}

// input lets a command's stdin be closed while it is written to, which the protocol library does not.
type input struct {
	mu   sync.Mutex
	pipe io.WriteCloser
}

func (i *input) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pipe.Write(p)
}

func (i *input) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pipe.Close()
}

// stop asks the command to end, and waits up to endGrace for it. On a dead line even asking blocks, so it is not waited
// for.
func (r *running) stop(ended <-chan error) {
	r.client.spawn(func() {
		_ = r.session.Signal(xssh.SIGTERM)
		_ = r.stdin.Close()
	})
	select {
	case <-ended:
	case <-time.After(endGrace):
	}
}

// abort ends a session whose output is not read any more, and with it the command: its next write fails. A server that
// goes on sending is cut off itself, for the library keeps its bytes until then.
func (r *running) abort(ended <-chan error) {
	r.client.spawn(func() {
		_ = r.session.Signal(xssh.SIGTERM)
		_ = r.session.Close()
	})
	select {
	case <-ended:
	case <-time.After(endGrace):
		r.client.abandon()
	}
}

// close closes the session, and releases its slot once the machine was told or the connection has ended.
func (r *running) close() {
	told := r.client.spawn(func() {
		_ = r.session.Close()
		r.release()
	})
	if !told {
		r.release()
	}
}
