package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lock takes a lock file of the lab, so that two commands do not work on the
// same machine at once. It waits.
func (l *Lab) lock(name string) (unlock func(), err error) {
	dir := filepath.Join(l.state, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making folder %q: %w", dir, err)
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening lock %q: %w", name, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("taking lock %q: %w", name, err)
	}
	return func() { file.Close() }, nil
}
