package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
)

// DiskError is the error of a change on a file system that is full, broken or read-only. Its class is permanent, since
// it stays so until the machine is repaired.
type DiskError struct {
	// Mount is where the file system is mounted, as a path on the machine.
	Mount string
	// Free is how many bytes root may still write, and Inodes how many files it may still make.
	Free   int64
	Inodes uint64
	Err    error
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("%s on %s (%d KiB and %s free): %v", e.kind(), e.Mount, e.Free>>10,
		count.Of(e.Inodes, "inode"), e.Err)
}

func (e *DiskError) Unwrap() error { return e.Err }

func (e *DiskError) kind() string {
	switch {
	case errors.Is(e.Err, syscall.ENOSPC):
		return "no space left"
	case errors.Is(e.Err, syscall.EDQUOT):
		return "the quota is used up"
	case errors.Is(e.Err, syscall.EROFS):
		return "the file system is read-only"
	}
	return "the disk fails"
}

// Hint returns the remedy.
func (e *DiskError) Hint() string {
	if errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT) {
		return fmt.Sprintf("make room on %s of the machine (see df and df -i) and submit again", e.Mount)
	}
	return fmt.Sprintf("see dmesg on the machine for the disk of %s, repair it, and submit again", e.Mount)
}

// Explain returns an error of the disk that name lies on as a *DiskError, which names the file system and its free
// space. Where the error itself names a file of the machine, that one counts. Other errors are returned as they are.
func (h *Host) Explain(name string, err error) error {
	var known *DiskError
	if errors.As(err, &known) {
		return err
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO} {
		if errors.Is(err, errno) {
			mount := h.mountOf(h.fileOf(err, name))
			e := &DiskError{Mount: mount, Err: err}
			var stat syscall.Statfs_t
			if syscall.Statfs(h.Path(mount), &stat) == nil {
				e.Free, e.Inodes = int64(stat.Bavail)*stat.Bsize, stat.Ffree
			}
			return errclass.With(errclass.Permanent, e)
		}
	}
	return err
}

// fileOf returns the file of the machine that an error names, or otherwise.
func (h *Host) fileOf(err error, otherwise string) string {
	var named string
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		named = path.Path
	case errors.As(err, &link):
		named = link.New
	}
	if rest, beneath := strings.CutPrefix(named, h.Root+"/"); beneath {
		return "/" + rest
	}
	return otherwise
}

// mountOf returns the topmost folder of the file system of name, which need not exist.
func (h *Host) mountOf(name string) string {
	device := func(dir string) (uint64, bool) {
		info, err := os.Stat(h.Path(dir))
		if err != nil {
			return 0, false
		}
		return uint64(info.Sys().(*syscall.Stat_t).Dev), true
	}
	dir := filepath.Clean(name)
	own, there := device(dir)
	for !there && dir != "/" {
		dir = filepath.Dir(dir)
		own, there = device(dir)
	}
	for dir != "/" {
		if above, there := device(filepath.Dir(dir)); !there || above != own {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}
