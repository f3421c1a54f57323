package original

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
)

// state describes the present file, link or nothing at a path.
type state struct {
	kind     Kind
	mode     fs.FileMode
	uid, gid int
	modTime  time.Time
	size     int64
	target   string
}

// look reads the state of a path. A folder or a device is an error: Argosy never replaces one.
func look(h *host.Host, name string) (state, error) {
	info, err := os.Lstat(h.Path(name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return state{kind: Nothing}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("reading %q: %w", name, err)
	}
	now := state{kind: Regular, mode: info.Mode(), modTime: info.ModTime().UTC(), size: info.Size()}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		now.uid, now.gid = int(owner.Uid), int(owner.Gid)
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		now.kind = Symlink
		if now.target, err = os.Readlink(h.Path(name)); err != nil {
			return state{}, fmt.Errorf("reading link %q: %w", name, err)
		}
	case !info.Mode().IsRegular():
		return state{}, errclass.Errorf(errclass.Permanent,
			"reading %q: it is neither a file nor a link (%s), and is not replaced", name, info.Mode())
	}
	return now, nil
}

// digest identifies the content at name; empty for nothing.
func (s state) digest(h *host.Host, name string) (string, error) {
	switch s.kind {
	case Nothing:
		return "", nil
	case Symlink:
		return linkDigest(s.target), nil
	}
	return fileDigest(h, name)
}

func linkDigest(target string) string { return "-> " + target }

func fileDigest(h *host.Host, name string) (string, error) {
	file, err := os.Open(h.Path(name))
	if err != nil {
		return "", fmt.Errorf("reading %q: %w", name, err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("reading %q: %w", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// DigestOf identifies content as Entry.Written does.
func DigestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// Has reports whether a regular file has the content with this digest.
func Has(h *host.Host, name, digest string) bool {
	now, err := look(h, name)
	if err != nil || now.kind != Regular {
		return false
	}
	got, err := fileDigest(h, name)
	return err == nil && got == digest
}

// content identifies the original, as state.digest does.
func (e *Entry) content() string {
	if e.Kind == Symlink {
		return linkDigest(e.Target)
	}
	return e.SHA256
}

// same reports whether the original is in its place, given the digest of the present content. The time of a link does
// not count: none can be told from its content.
func (e *Entry) same(now state, digest string) bool {
	if e.Kind != now.kind || e.content() != digest {
		return false
	}
	switch e.Kind {
	case Nothing:
		return true
	case Symlink:
		return e.UID == now.uid && e.GID == now.gid
	}
	return e.Mode == now.mode && e.UID == now.uid && e.GID == now.gid && e.ModTime.Equal(now.modTime)
}
