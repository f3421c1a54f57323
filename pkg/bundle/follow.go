package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// ErrRestarted means that the followed file was replaced or truncated: its writer began again, and so must the reader.
var ErrRestarted = errors.New("the bundle is being sent anew")

// followPoll is the time between two looks at a file that has not grown.
const followPoll = 10 * time.Millisecond

// Follower reads a file while it grows. It ends with io.EOF when the file has its final name and was read to its end,
// or when Size bytes were read.
type Follower struct {
	// Partial is the file's name while it grows, Final when it is whole.
	Partial, Final string
	// Size in bytes; 0 when unknown.
	Size int64
	// Stall is how long the file may stay as it is, or missing, before Read gives up with a transient error.
	Stall time.Duration

	ctx    context.Context
	file   *os.File
	offset int64
	grown  time.Time
}

// Follow starts to follow a file. Close must be called. Neither file needs to exist yet.
func Follow(ctx context.Context, partial, final string, size int64, stall time.Duration) *Follower {
	return &Follower{Partial: partial, Final: final, Size: size, Stall: stall, ctx: ctx, grown: time.Now()}
}

// Close closes the file.
func (f *Follower) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// Read waits for bytes. Errors: ErrRestarted, a transient error after Stall without growth, the context's cause.
func (f *Follower) Read(p []byte) (int, error) {
	for {
		if err := f.ctx.Err(); err != nil {
			return 0, fmt.Errorf("waiting for the bundle: %w", context.Cause(f.ctx))
		}
		n, err := f.read(p)
		if n > 0 || err != nil {
			return n, err
		}
		if time.Since(f.grown) > f.Stall {
			return 0, f.stalled()
		}
		select {
		case <-f.ctx.Done():
		case <-time.After(followPoll):
		}
	}
}

// read returns 0, nil when there is nothing yet.
func (f *Follower) read(p []byte) (int, error) {
	if f.Size > 0 && f.offset >= f.Size {
		return 0, io.EOF
	}
	if f.file == nil {
		if err := f.open(); err != nil || f.file == nil {
			return 0, err
		}
	}
	n, err := f.file.Read(p)
	if n > 0 {
		f.offset += int64(n)
		f.grown = time.Now()
		return n, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading %q: %w", f.file.Name(), err)
	}
	return 0, f.atEnd()
}

// open opens the file, if there is one yet.
func (f *Follower) open() error {
	for _, name := range []string{f.Final, f.Partial} {
		file, err := os.Open(name)
		if err == nil {
			f.file = file
			return nil
		}
		// Waiting does not help against a failing disk.
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("reading %q: %w", name, err)
		}
	}
	return nil
}

// atEnd returns, when all bytes are read, nil if more will come, io.EOF if the file is complete, or ErrRestarted.
func (f *Follower) atEnd() error {
	mine, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("reading %q: %w", f.file.Name(), err)
	}
	if mine.Size() < f.offset {
		return ErrRestarted
	}
	if mine.Size() > f.offset {
		return nil
	}
	// The final name first: it appears in the same instant as the other goes.
	final, err := os.Stat(f.Final)
	if err == nil && os.SameFile(mine, final) {
		// It may have grown between our last read and its renaming.
		if final.Size() > f.offset {
			return nil
		}
		return io.EOF
	}
	if err == nil {
		return ErrRestarted
	}
	partial, err := os.Stat(f.Partial)
	if err == nil && !os.SameFile(mine, partial) {
		return ErrRestarted
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(f.Final); err == nil {
			return nil // renamed between the two looks
		}
		return ErrRestarted
	}
	return nil
}

func (f *Follower) stalled() error {
	if f.offset == 0 {
		return errclass.Errorf(errclass.Transient, "waiting for the bundle: nothing arrived at %q for %s", f.Partial,
			f.Stall)
	}
	return errclass.Errorf(errclass.Transient, "waiting for the bundle: %q stopped at %d bytes and did not grow for %s",
		f.Partial, f.offset, f.Stall)
}
