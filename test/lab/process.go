package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process names a process of before by its number and start time, so that a
// number used again is never mistaken for it.
type process struct {
	pid   int
	start string
}

func thisProcess() (process, error) { return processByID(os.Getpid()) }

func processByID(pid int) (process, error) {
	fields, err := statFields(pid)
	if err != nil {
		return process{}, err
	}
	return process{pid: pid, start: fields[startField]}, nil
}

// Places of the fields of /proc/PID/stat that follow the name, from 0.
const (
	stateField   = 0
	threadsField = 17
	startField   = 19
)

// statFields returns the fields of /proc/PID/stat behind the name, which is in parentheses and may hold spaces.
func statFields(pid int) ([]string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("reading process %d: %w", pid, err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) <= startField {
		return nil, fmt.Errorf("reading process %d: unexpected stat line", pid)
	}
	return fields, nil
}

func (p process) write(path string) error {
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d %s\n", p.pid, p.start), 0o644); err != nil {
		return fmt.Errorf("writing process file %q: %w", path, err)
	}
	return nil
}

// readProcess reads a process file; ok is false if there is none or if that
// process has ended.
func readProcess(path string) (p process, ok bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return process{}, false
	}
	fields := strings.Fields(string(data))
	if len(fields) != 2 {
		return process{}, false
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		return process{}, false
	}
	p = process{pid: pid, start: fields[1]}
	return p, p.alive()
}

// alive reports whether the process has a thread left: QEMU's processors end after its first thread, which is a zombie
// meanwhile, and hold the lock on the machine's disk until then.
func (p process) alive() bool {
	fields, err := statFields(p.pid)
	if err != nil || fields[startField] != p.start {
		return false
	}
	return fields[stateField] != "Z" || fields[threadsField] != "1"
}

// stop asks the process to end and kills it if it has not after the grace.
func (p process) stop(grace time.Duration) error {
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("ending process %d: %w", p.pid, err)
	}
	if p.wait(grace) {
		return nil
	}
	return p.kill()
}

func (p process) wait(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if !p.alive() {
			return true
		}
	}
	return !p.alive()
}

// children lists the child processes of all threads of a process.
func children(pid int) []int {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil
	}
	var pids []int
	for _, thread := range threads {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// programPath is the copy of the lab command that its background processes run
// from: `go run` deletes its own when it ends.
func (l *Lab) programPath() string { return filepath.Join(l.state, "libexec", "lab") }

// installProgram puts the lab command at programPath: a copy of this process's
// own program if it is the lab command, else one built from the checkout.
func (l *Lab) installProgram(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(l.programPath()), 0o755); err != nil {
		return fmt.Errorf("making the folder of the lab command: %w", err)
	}
	partial := l.programPath() + ".partial"
	if l.program != "" {
		data, err := os.ReadFile(l.program)
		if err != nil {
			return fmt.Errorf("reading the lab command: %w", err)
		}
		if err := os.WriteFile(partial, data, 0o755); err != nil {
			return fmt.Errorf("copying the lab command: %w", err)
		}
	} else {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", partial, "./test/lab/cmd/lab")
		cmd.Dir = l.source
		if _, err := runCmd(cmd, nil); err != nil {
			return fmt.Errorf("building the lab command: %w", err)
		}
	}
	if err := os.Rename(partial, l.programPath()); err != nil {
		return fmt.Errorf("naming the lab command: %w", err)
	}
	return nil
}

// detach starts the lab command in a session of its own, so that it outlives
// this process, with its output in a log file. It returns when the process has
// written its process file.
func (l *Lab) detach(ctx context.Context, pidfile, logfile string, args ...string) (process, error) {
	if !exists(l.programPath()) {
		return process{}, errors.New("the lab was never up: run `lab up` first")
	}
	out, err := os.OpenFile(logfile, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return process{}, fmt.Errorf("opening log %q: %w", logfile, err)
	}
	defer out.Close()
	if err := os.Remove(pidfile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return process{}, fmt.Errorf("removing process file %q: %w", pidfile, err)
	}
	cmd := exec.Command(l.programPath(), args...)
	cmd.Env = append(os.Environ(), "ARGOSY_LAB_DIR="+l.state)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return process{}, fmt.Errorf("starting %s: %w", quoteArgv(cmd.Args), err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var started process
	err = l.await(ctx, "the process file of "+quoteArgv(cmd.Args), func(context.Context) (err error) {
		var ok bool
		if started, ok = readProcess(pidfile); !ok {
			err = errors.New("it is not there yet")
		}
		return err
	}, func() error {
		select {
		case err := <-ended:
			text, _ := os.ReadFile(logfile)
			return &RunError{Argv: cmd.Args, Output: string(text), Err: fmt.Errorf("ended at once: %w", err)}
		default:
			return nil
		}
	})
	return started, err
}

// kill ends the process at once and waits for it.
func (p process) kill() error {
	if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing process %d: %w", p.pid, err)
	}
	if !p.wait(waitLimit) {
		return fmt.Errorf("killing process %d: it is still there", p.pid)
	}
	return nil
}
