package ssh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/bramvdbogaerde/go-scp"
	xssh "golang.org/x/crypto/ssh"
)

// scpPath holds no character that a shell reads specially. go-scp puts the path between double quotes, in which a shell
// still expands $( ) and backticks.
var scpPath = regexp.MustCompile(`^/[A-Za-z0-9/_.+-]+$`)

// canSCP reports whether scp can do this upload: it needs root's own login, a known size, a fresh start, and a login
// shell that prints nothing, since go-scp takes all output for scp's protocol.
func (c *Client) canSCP(upload Upload, state remoteState, offset int64) bool {
	return !c.noisy.Load() &&
		c.config.User == defaultUser && state.scp && offset == 0 && upload.Size > 0 && scpPath.MatchString(upload.Path)
}

func (c *Client) sendBySCP(ctx context.Context, upload Upload, source *sourceReader) error {
	select {
	case c.sessions <- struct{}{}:
	case <-ctx.Done():
		return contextError(ctx, "waiting for a session")
	}
	// go-scp is cancelled through its source: cancelled through its context, it closes a pipe that it still writes to.
	copied := make(chan error, 1)
	alive := c.spawn(func() {
		copied <- c.copyBySCP(upload, source)
		<-c.sessions
	})
	if !alive {
		<-c.sessions
		return transient("sending by scp: %w", errLost)
	}
	select {
	case err := <-copied:
		return c.scpError(err)
	case <-ctx.Done():
		source.stop()
		select {
		case <-copied:
		case <-time.After(endGrace): // the line is dead; its end will end the copy
		}
		return contextError(ctx, "sending by scp")
	}
}

func (c *Client) copyBySCP(upload Upload, source *sourceReader) error {
	answers := &boundedConn{Conn: c.conn.Conn}
	copier, err := scp.NewClientBySSH(&xssh.Client{Conn: answers})
	if err != nil {
		return err //nolint:wrapcheck // scpError wraps it.
	}
	dialThrough := func(io.Reader, int64) io.Reader { return source }
	err = copier.CopyPassThru(context.Background(), source, upload.Path+partial, "0600", upload.Size, dialThrough)
	return cmp.Or(answers.flood(), err)
}

// maxSCPReplies is how much scp may answer: a byte for each step, or a byte and a line with the reason.
const maxSCPReplies = 64 << 10

// boundedConn opens sessions of which not more than scp's acknowledgements is read: go-scp reads a line of any length.
// It ends the connection on more, since go-scp waits for the session's end, which such a machine may never send.
type boundedConn struct {
	xssh.Conn
	read atomic.Int64
}

func (a *boundedConn) OpenChannel(name string, data []byte) (xssh.Channel, <-chan *xssh.Request, error) {
	channel, requests, err := a.Conn.OpenChannel(name, data)
	if err != nil {
		return nil, nil, err //nolint:wrapcheck // scpError wraps it.
	}
	return boundedChannel{channel, a}, requests, nil
}

// flood is the error of an answer that was too long, nil before.
func (a *boundedConn) flood() error {
	if a.read.Load() <= maxSCPReplies {
		return nil
	}
	return Flood("in scp's acknowledgements", maxSCPReplies)
}

func (a *boundedConn) count(n int) error {
	a.read.Add(int64(n))
	err := a.flood()
	if err != nil {
		_ = a.Close()
	}
	return err
}

type boundedChannel struct {
	xssh.Channel
	counted *boundedConn
}

func (b boundedChannel) Read(p []byte) (int, error) {
	n, err := b.Channel.Read(p)
	return n, cmp.Or(b.counted.count(n), err)
}

func (b boundedChannel) Stderr() io.ReadWriter { return boundedErrors{b.Channel.Stderr(), b.counted} }

type boundedErrors struct {
	io.ReadWriter
	counted *boundedConn
}

func (b boundedErrors) Read(p []byte) (int, error) {
	n, err := b.ReadWriter.Read(p)
	return n, cmp.Or(b.counted.count(n), err)
}

func (c *Client) scpError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrFlood):
		c.abandon()
		return err
	case lost(err), !c.Alive():
		c.abandon()
		return transient("sending by scp: %w", errLost)
	default:
		return fmt.Errorf("sending by scp: %w", err)
	}
}
