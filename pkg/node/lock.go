package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// holder is the lock file's content: the process that holds the lock. It counts only while the lock is held.
type holder struct {
	ID  string `json:"id"`
	PID int    `json:"pid"`
	// Boot and Start tell the process from a later one with the same PID: the machine's boot id, and when the process
	// started, in clock ticks since that boot. Both are empty in the lock of an argosy-node from before them.
	Boot  string `json:"boot,omitempty"`
	Start string `json:"start,omitempty"`
}

// self returns the holder for this process.
func self(id string) holder {
	pid := os.Getpid()
	return holder{ID: id, PID: pid, Boot: bootID(), Start: startTime(pid)}
}

// alive reports whether the holder's process exists, and is the one that wrote the lock file.
func (h *holder) alive() bool {
	if h.PID <= 0 {
		return false // kill reads it as a group of processes
	}
	if h.Start == "" {
		return syscall.Kill(h.PID, 0) == nil
	}
	return h.Boot == bootID() && h.Start == startTime(h.PID)
}

// bootID returns the kernel's random name for the time since it booted.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// startTime returns when a process started, in clock ticks since the boot; "" when there is none. It is the 22nd field
// of /proc/PID/stat, the 20th after the name, which may hold spaces and brackets itself (proc_pid_stat(5)).
func startTime(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}

// lock is a held lock on an open file (fcntl's OFD kind, which can be probed without taking it); the kernel lets go of
// it when the process ends, however that happens.
type lock struct{ file *os.File }

func (l *lock) release() {
	// The name is removed first, so that it is not taken for that of the next holder, which writes its own after
	// locking.
	_ = l.file.Truncate(0)
	_ = l.file.Close()
}

// tryFlock locks the file if it is free, and reports whether it has.
func tryFlock(file *os.File) (bool, error) {
	whole := syscall.Flock_t{Type: syscall.F_WRLCK}
	err := syscall.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &whole)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		return false, nil
	}
	return err == nil, err //nolint:wrapcheck // Its callers name the lock.
}

// tryLock takes the machine's lock for an operation. When another process has it, tryLock returns nil and that process.
func (s *Store) tryLock(id string) (*lock, *holder, error) {
	file, err := s.openLock(spec.LockFile)
	if err != nil {
		return nil, nil, err
	}
	free, err := tryFlock(file)
	if err != nil {
		_ = file.Close()
		return nil, nil, fmt.Errorf("locking the machine by %q: %w", spec.LockFile, err)
	}
	if !free {
		_ = file.Close()
		return nil, s.holder(), nil
	}
	data, err := json.Marshal(self(id))
	if err == nil {
		err = file.Truncate(0)
	}
	if err == nil {
		_, err = file.WriteAt(data, 0)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, fmt.Errorf("writing %q: %w", spec.LockFile, err)
	}
	return &lock{file}, nil, nil
}

// Working returns the ID of the operation that holds the machine's lock; "" when none does.
func (s *Store) Working() string {
	file, err := os.Open(s.host.Path(spec.LockFile))
	if err != nil {
		return ""
	}
	defer file.Close()
	probe := syscall.Flock_t{Type: syscall.F_RDLCK}
	if err := syscall.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &probe); err != nil || probe.Type == syscall.F_UNLCK {
		return ""
	}
	return s.holder().ID
}

// holder returns the process that holds the lock. It may not have written its name yet, and the file may have the name
// of one that was killed; so a name counts only if its process is alive, and is waited for up to 100 ms.
func (s *Store) holder() *holder {
	for range 50 {
		var h holder
		data, err := s.host.ReadFile(spec.LockFile)
		if err == nil && json.Unmarshal(data, &h) == nil && h.alive() {
			return &h
		}
		time.Sleep(2 * time.Millisecond)
	}
	return &holder{ID: "unknown"}
}

// startLockTimeout bounds the wait for the start lock.
const startLockTimeout = 20 * time.Second

// lockStart takes the start lock, which Start, Cancel and recordLostUnit hold while they decide whether an operation
// runs.
func (s *Store) lockStart(ctx context.Context) (*lock, error) {
	ctx, cancel := context.WithTimeout(ctx, startLockTimeout)
	defer cancel()
	file, err := s.openLock(spec.StartLockFile)
	if err != nil {
		return nil, err
	}
	for {
		free, err := tryFlock(file)
		if err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("locking %q: %w", spec.StartLockFile, err)
		}
		if free {
			return &lock{file}, nil
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, errclass.Errorf(errclass.Transient, "waiting for another start on this machine: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *Store) openLock(name string) (*os.File, error) {
	path := s.host.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making folder %q: %w", spec.Root, err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock %q: %w", name, err)
	}
	return file, nil
}
