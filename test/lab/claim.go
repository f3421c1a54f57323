package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// held keeps claimed files open, and with them their locks, until the process ends: the collector closes a file that
// nothing refers to any more.
var held sync.Map

// Claim reserves the lab for this process until it ends; the error of another process names user. Tests, benchmarks and
// the demo claim it: two at once would take each other's machines away.
func (l *Lab) Claim(user string) error {
	path := filepath.Join(l.state, "claimed.lock")
	if err := os.MkdirAll(l.state, 0o755); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("opening %q: %w", path, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer func() { _ = file.Close() }()
		return fmt.Errorf("claiming the lab in %q: %s: wait for its end", l.state, holderIn(path))
	}
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("locking %q: %w", path, err)
	}
	l.claim = file
	held.Store(file, true)
	holder := fmt.Sprintf("%s (process %d) is at work on it", user, os.Getpid())
	if err := os.WriteFile(path, []byte(holder), 0o600); err != nil {
		return fmt.Errorf("noting who claims the lab: %w", err)
	}
	return nil
}

// holderIn returns the text that the holder of the lock wrote; it may be empty at first.
func holderIn(path string) string {
	holder, err := os.ReadFile(path)
	if text := strings.TrimSpace(string(holder)); err == nil && text != "" {
		return text
	}
	return "another process is at work on it"
}

// RunClaimed claims the lab for user and runs a program meanwhile. The end of ctx terminates the program, and is not
// the end of the claim: that is the program's. Its own children, such as the lab's machines, do not inherit the lock.
func (l *Lab) RunClaimed(ctx context.Context, user string, argv ...string) error {
	if err := l.Claim(user); err != nil {
		return err
	}
	// The program ends with this process, whose thread is meant by Pdeathsig.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	program := exec.CommandContext(ctx, argv[0], argv[1:]...)
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	program.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	program.Cancel = func() error { return program.Process.Signal(syscall.SIGTERM) }
	if err := program.Run(); err != nil {
		return fmt.Errorf("running %q: %w", strings.Join(argv, " "), err)
	}
	return nil
}
