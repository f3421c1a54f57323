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
)

// endGrace is how long a command has, after it was sent a signal, to end by itself.
const endGrace = 2 * time.Second

// Command is what to run on a machine.
type Command struct {
	// Argv is the program and its arguments. They reach it exactly as they are here.
	Argv []string
	// Stdin is read until its end, or until the command has ended; a Read under way then is not waited for. Nil: no input.
	Stdin io.Reader
	// Stdout, when not nil, gets the output as it comes; Result then keeps only the last 16 KiB.
	Stdout io.Writer
}

// Result is what a command left.
type Result struct {
	// Stdout is all of the output up to 4 MiB, and the last 256 KiB of more; Stderr likewise.
	Stdout, Stderr []byte
	// Truncated says that Stdout is only the end.
	Truncated bool
	// ExitCode is 0 unless the error is an *ExitError.
	ExitCode int
}

// Runner runs commands on one machine, as one user. An error is an *ExitError when the command ran and did not exit with 0.
type Runner interface {
	Run(ctx context.Context, command Command) (Result, error)
}

// Run runs a command as the user who is logged in. When ctx ends, the command is sent SIGTERM and cut off. OpenSSH
// delivers no signal to what root runs, or sudo: such a command sees the end of its input and a closed output, no more.
func (c *Client) Run(ctx context.Context, command Command) (Result, error) {
	line, err := Quote(command.Argv)
	if err != nil {
		return Result{}, err
	}
	stdout, stderr := &output{live: command.Stdout}, &output{}
	status, err := c.execute(ctx, line, stdout, stderr, copyFrom(command.Stdin))
	return c.result(line, status, err, stdout, stderr)
}

// result turns what execute saw into what callers see.
func (c *Client) result(shown string, status exit, err error, stdout, stderr *output) (Result, error) {
	result := Result{ExitCode: status.code}
	result.Stdout, result.Truncated = stdout.seal()
	result.Stderr, _ = stderr.seal()
	if err != nil {
		return result, err
	}
	if status.code != 0 {
		return result, &ExitError{Host: c.Host(), Command: shown, ExitCode: status.code, Signal: status.signal,
			Tail: lastLines(result.Stdout, result.Stderr)}
	}
	return result, nil
}

// exit is how a command ended.
type exit struct {
	code   int
	signal string
}

// feed writes a command's input. Its error is that of the input's source; what the command did not want to read is not
// an error.
type feed func(stdin io.Writer) error

func copyFrom(source io.Reader) feed {
	return func(stdin io.Writer) error {
		if source == nil {
			return nil
		}
		return pour(stdin, source, make([]byte, 64<<10))
	}
}

// pour copies, and tells a source that breaks (an error) from a reader that has gone (none).
func pour(stdin io.Writer, source io.Reader, buffer []byte) error {
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

// execute runs one line of shell text and waits for it. The error says why there is no exit status.
func (c *Client) execute(ctx context.Context, line string, stdout, stderr io.Writer, feed feed) (exit, error) {
	running, err := c.start(ctx, line, stdout, stderr)
	if err != nil {
		return exit{}, err
	}
	defer running.close()

	fed := make(chan error, 1)
	ended := make(chan error, 1)
	// Not waited for: a source may block in Read for as long as it likes. It ends at the latest when it next writes.
	go func() {
		err := feed(running.stdin)
		if err == nil {
			_ = running.stdin.Close()
		}
		fed <- err
	}()
	c.spawn(func() { ended <- running.session.Wait() })

	for {
		select {
		case err := <-ended:
			return c.ended(ctx, err)
		case err := <-fed:
			if err != nil {
				running.stop(ended)
				return exit{}, fmt.Errorf("reading the input for a command on %s: %w", c.Host(), err)
			}
			fed = nil
		case <-ctx.Done():
			running.stop(ended)
			return exit{}, interrupted(ctx, "running a command on "+c.Host())
		}
	}
}

func (c *Client) ended(ctx context.Context, err error) (exit, error) {
	var status *xssh.ExitError
	switch {
	case err == nil:
		return exit{}, nil
	case errors.As(err, &status):
		return exit{code: status.ExitStatus(), signal: status.Signal()}, nil
	case ctx.Err() != nil:
		return exit{}, interrupted(ctx, "running a command on "+c.Host())
	case lost(err), !c.Alive():
		c.abandon()
		return exit{}, transient("running a command on %s: %w", c.Host(), errLost)
	default:
		return exit{}, fmt.Errorf("running a command on %s: %w", c.Host(), err)
	}
}

// running is a command under way, and the place it takes among the connection's sessions.
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
		return nil, transient("running a command on %s: %w", c.Host(), errLost)
	case <-ctx.Done():
		return nil, interrupted(ctx, "waiting to run a command on "+c.Host())
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
		return nil, transient("running a command on %s: %w", c.Host(), errLost)
	}
	select {
	case s := <-opened:
		return s.running, s.err
	case <-ctx.Done():
		abandoned.Store(true)
		// Whoever sees the session last closes it; closing twice does no harm.
		select {
		case s := <-opened:
			if s.err == nil {
				s.running.close()
			}
		default:
		}
		return nil, interrupted(ctx, "starting a command on "+c.Host())
	}
}

func (c *Client) open(line string, stdout, stderr io.Writer) (*running, error) {
	session, err := c.conn.NewSession()
	if err != nil {
		if !errors.As(err, new(*xssh.OpenChannelError)) {
			c.abandon()
		}
		return nil, transient("opening a session on %s: %w", c.Host(), err)
	}
	session.Stdout, session.Stderr = stdout, stderr
	stdin, err := session.StdinPipe()
	if err == nil {
		err = session.Start(line)
	}
	if err != nil {
		_ = session.Close()
		return nil, transient("starting a command on %s: %w", c.Host(), err)
	}
	var released atomic.Bool
	release := func() {
		if released.CompareAndSwap(false, true) {
			<-c.sessions
		}
	}
	return &running{client: c, session: session, stdin: &input{pipe: stdin}, release: release}, nil
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

// stop asks the command to end, and waits a little for it to do so. On a dead line even asking blocks, so nobody waits
// for that.
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

// close gives the session up, and its place once the machine was told or the connection has ended.
func (r *running) close() {
	told := r.client.spawn(func() {
		_ = r.session.Close()
		r.release()
	})
	if !told {
		r.release()
	}
}
