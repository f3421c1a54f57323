package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Claim reserves the lab for this process until it ends. Tests and benchmarks
// do so: two at once would take each other's machines away.
func (l *Lab) Claim() error {
	path := filepath.Join(l.state, "claimed.lock")
	if err := os.MkdirAll(l.state, 0o755); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening %q: %w", path, err)
	}
	// The file stays open, and with it the lock, until the process ends.
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errors.New("other tests or benchmarks work on this lab: wait for their end")
	}
	if err != nil {
		return fmt.Errorf("locking %q: %w", path, err)
	}
	l.claim = file
	return nil
}
