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
)

const (
	// senderPatience is how long an operation waits for somebody who sends. A plugin whose pod is replaced is back
	// before.
	senderPatience = 2 * time.Minute
	// maxLosses is how often in a row the connection may be lost before the operation gives up.
	maxLosses = 5
)

// errNobodySends ends an operation that nobody sends what it asks for.
var errNobodySends = errclass.With(errclass.Transient, errors.New("nobody sends it"))

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
	return &feeds{context: c, listener: listener, patience: senderPatience}, nil
}

func (f *feeds) close() {
	f.listener.Close()
	f.context.AwaitFeed("")
}

// take asks for an archive and gives it to use. When the connection is lost before use has seen its end, it is asked
// for again.
func (f *feeds) take(ctx context.Context, key string, use func(io.Reader) error) error {
	f.context.AwaitFeed(key)
	defer f.context.AwaitFeed("")
	for lost := 0; ; {
		err := f.connected(ctx)
		if err == nil {
			err = f.session.Ask(key)
		}
		if err == nil {
			err = f.through(ctx, use)
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

// through gives the archive to use, whose reads end with ctx.
func (f *feeds) through(ctx context.Context, use func(io.Reader) error) error {
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
		fmt.Errorf("%w: the plugin did not connect within %s", errNobodySends, f.patience))
	defer cancel()
	session, err := f.listener.Next(waiting)
	f.session = session
	return err
}

const (
	// pollEvery is how often whoever brings archives looks whether the operation takes them.
	pollEvery = 25 * time.Millisecond
	// aliveEvery is how often it is made sure that the operation goes on.
	aliveEvery = time.Second
)

// HandOver gives a connection to the operation of this id, as soon as it waits for archives, and returns when it is
// done with it, or has ended. in and out are the connection's two directions.
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
		if time.Since(looked) > aliveEvery {
			looked = time.Now()
			if status, err := e.Store.Status(id); err != nil || status.State.Final() {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollEvery):
		}
	}
}
