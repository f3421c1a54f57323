package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"argosy.dev/argosy/internal/fetch"
	"argosy.dev/argosy/pkg/errclass"
)

// opener starts to read a file from offset on.
type opener func(ctx context.Context, offset int64) (io.ReadCloser, error)

const (
	// block bounds the part of a file in memory, in bytes.
	block = 1 << 20
	// lockPoll is the time between two attempts to lock a file that another build fetches.
	lockPoll = 100 * time.Millisecond
)

// cache keeps files as <dir>/sha256/<digest>, and those that have begun to arrive as <digest>.partial: an interrupted
// download goes on in the partial file, which is therefore not one of atomicfile.
type cache struct {
	dir      string
	progress *progress
}

// file returns the path of the file with that digest, and fetches its missing part. It is hashed each time, also when
// it was there: a disk may have damaged it since. title is its name in messages.
func (c *cache) file(ctx context.Context, title, digest string, open opener) (string, error) {
	folder := filepath.Join(c.dir, "sha256")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("making the cache: %w", err)
	}
	path := filepath.Join(folder, digest)
	partial, err := lockFile(ctx, path+".partial")
	if err != nil {
		return "", err
	}
	defer partial.Close()
	sum, err := hashFile(path)
	switch {
	case err == nil && sum == digest:
		// The lock's own file does no harm, but need not stay.
		_ = os.Remove(partial.Name())
		return path, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("reading %s from the cache: %w", title, err)
	}
	if err := c.complete(ctx, title, digest, partial, open); err != nil {
		return "", err
	}
	if err := os.Rename(partial.Name(), path); err != nil {
		return "", fmt.Errorf("keeping %s: %w", title, err)
	}
	return path, nil
}

// complete fetches the missing part of the partial file. If that is not the beginning of the right file, it begins
// again, once: the release may have been replaced, or the disk full, when the first part came.
func (c *cache) complete(ctx context.Context, title, digest string, partial *os.File, open opener) error {
	for {
		begun, err := partial.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("finding the end of %q: %w", partial.Name(), err)
		}
		err = c.download(ctx, title, partial, open)
		var status *fetch.StatusError
		// A whole file has no further byte to send.
		beyond := errors.As(err, &status) && status.Code == http.StatusRequestedRangeNotSatisfiable
		if err != nil && !beyond {
			return err
		}
		sum, err := hashFile(partial.Name())
		if err != nil {
			return fmt.Errorf("hashing %s: %w", title, err)
		}
		if sum == digest {
			return nil
		}
		if err := partial.Truncate(0); err != nil {
			return fmt.Errorf("emptying %q: %w", partial.Name(), err)
		}
		if begun == 0 {
			return errclass.Errorf(errclass.Permanent, "verifying it: its sha256 is %s, but %s was published for it; "+
				"it was damaged on its way or replaced, and is not used", sum, digest)
		}
		c.progress.say(title, "its partial download does not fit; fetching it again")
	}
}

// download appends the missing bytes, and resumes when the connection is lost.
func (c *cache) download(ctx context.Context, title string, partial *os.File, open opener) error {
	return retrying(ctx, c.progress.saying(title), func(ctx context.Context) (int64, error) {
		offset, err := partial.Seek(0, io.SeekEnd)
		if err != nil {
			return 0, fmt.Errorf("finding the end of %q: %w", partial.Name(), err)
		}
		body, err := open(ctx, offset)
		if err != nil {
			return 0, err
		}
		defer func() { _ = body.Close() }()
		return io.CopyBuffer(struct{ io.Writer }{partial}, c.progress.counting(body), make([]byte, block))
	})
}

// lockFile opens a file for this build alone, and waits while another has it.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, fmt.Errorf("opening %q in the cache: %w", path, err)
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(file, path) {
			return file, nil
		}
		_ = file.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking %q: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, errclass.Errorf(errclass.Cancelled, "waiting for another build that fetches %q: %w", path,
				ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}

// isAt reports whether the file still has that name: the former holder of the lock may have renamed or removed it.
func isAt(file *os.File, path string) bool {
	mine, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.CopyBuffer(sum, struct{ io.Reader }{file}, make([]byte, block)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
