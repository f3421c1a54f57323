package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/node/spread"
)

const (
	// senderTimeout bounds the wait for a sender. A plugin whose pod is replaced is back before that.
	senderTimeout = 2 * time.Minute
	// maxLosses is the number of lost connections in a row after which the operation fails.
	maxLosses = 5
)

// errNoSender is the error of an operation to which no sender connects.
var errNoSender = errclass.With(errclass.Transient, errors.New("no sender is connected"))

// feeds are the connections over which archives come.
type feeds struct {
	context  *node.Context
	listener *feed.Listener
	session  *feed.Session
	patience time.Duration
}

func listen(c *node.Context) (*feeds, error) {
	listener, err := feed.Listen(c.Host.Path(filepath.Join(c.Store.Dir(c.Operation.ID), spec.FeedSocket)))
	if err != nil {
		return nil, err
	}
	return &feeds{context: c, listener: listener, patience: senderTimeout}, nil
}

// FromOthers begins to receive a file in pieces, from the plugin and from other machines, for an operation that
// spreads. The reader has to be closed before the operation waits for anything else that is sent.
func FromOthers(ctx context.Context, c *node.Context, file spread.File) (io.ReadCloser, error) {
	connection, err := listen(c)
	if err != nil {
		return nil, err
	}
	content, err := connection.inPieces(ctx, file)
	if err != nil {
		connection.close()
		return nil, err
	}
	return &received{content, connection}, nil
}

// inPieces begins to receive a file in pieces. Its reader has to be closed before the connection is used for anything
// else.
func (f *feeds) inPieces(ctx context.Context, file spread.File) (io.ReadCloser, error) {
	if err := f.context.Host.MkdirAll(spec.BundlesDir, 0o700); err != nil {
		return nil, err
	}
	f.context.AwaitFeed(spread.FeedKey)
	content, err := f.context.Spread.Receive(ctx, f.ask, file)
	if err != nil {
		return nil, fmt.Errorf("receiving it: %w", err)
	}
	return content, nil
}

// received closes the connection with the file.
type received struct {
	io.ReadCloser
	connection *feeds
}

func (r *received) Close() error {
	defer r.connection.close()
	return r.ReadCloser.Close()
}

func (f *feeds) close() {
	f.listener.Close()
	f.context.AwaitFeed("")
}

// take asks for an archive and calls use with it. When the connection is lost before use has read all of it, take asks
// again.
func (f *feeds) take(ctx context.Context, key string, use func(io.Reader) error) error {
	f.context.AwaitFeed(key)
	defer f.context.AwaitFeed("")
	return f.ask(ctx, key, use)
}

// ask is take without a change of the status.
func (f *feeds) ask(ctx context.Context, key string, use func(io.Reader) error) error {
	for lost := 0; ; {
		err := f.connected(ctx)
		if err == nil {
			err = f.session.Ask(key)
		}
		if err == nil {
			err = f.copyTo(ctx, use)
		}
		if !errors.Is(err, feed.ErrLost) || ctx.Err() != nil {
			return err
		}
		f.session.Close()
		f.session = nil
		if lost++; lost == maxLosses {
			return errclass.With(errclass.Transient, err)
		}
		_, _ = fmt.Fprintf(f.context.Log, "waiting for archive %q again: %v\n", key, err)
	}
}

// copyTo calls use with the archive; its reads end with ctx.
func (f *feeds) copyTo(ctx context.Context, use func(io.Reader) error) error {
	session := f.session
	stop := context.AfterFunc(ctx, session.Close)
	defer stop()
	return use(session)
}

// connected waits for a connection where there is none.
func (f *feeds) connected(ctx context.Context) error {
	if f.session != nil {
		return nil
	}
	waiting, cancel := context.WithTimeoutCause(ctx, f.patience,
		fmt.Errorf("%w: the plugin did not connect within %s", errNoSender, f.patience))
	defer cancel()
	session, err := f.listener.Next(waiting)
	f.session = session
	return err
}

const (
	// pollInterval is the time between two attempts to reach the operation's socket.
	pollInterval = 25 * time.Millisecond
	// aliveInterval is the time between two checks that the operation still runs.
	aliveInterval = time.Second
)

// HandOver passes a connection to the operation with this id, as soon as that waits for archives, and returns when the
// operation has closed it or ended. in and out are the connection's two directions.
func HandOver(ctx context.Context, e *node.Engine, id string, in, out *os.File) error {
	if err := node.CheckID(id); err != nil {
		return err
	}
	path := e.Host.Path(filepath.Join(e.Store.Dir(id), spec.FeedSocket))
	var looked time.Time
	for {
		err := feed.HandOver(ctx, path, in, out)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
		if feed.HungUp(in) {
			return nil
		}
		if time.Since(looked) > aliveInterval {
			looked = time.Now()
			if status, err := e.Store.Status(id); err != nil || status.State.Final() {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollInterval):
		}
	}
}
