package scale

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// built is a program that the lab has built; the test is skipped where it has not.
func built(t testing.TB, pattern string) string {
	t.Helper()
	cache := os.Getenv("ARGOSY_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		assert.NilError(t, err)
		cache = filepath.Join(user, "argosy", "lab")
	}
	found, err := filepath.Glob(filepath.Join(cache, pattern))
	assert.NilError(t, err)
	if len(found) == 0 {
		t.Skipf("the lab has built no %s in %s", pattern, cache)
	}
	return found[len(found)-1]
}

// process is a program that a test runs.
type process struct {
	command *exec.Cmd
	log     string
	ended   chan struct{}
}

// launch starts a program for the length of the test at most; its output is appended to a file named for it.
func launch(t testing.TB, folder, name string, environment []string, program string, args ...string) *process {
	t.Helper()
	path := filepath.Join(folder, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	assert.NilError(t, err)
	command := exec.Command(program, args...)
	command.Stdout, command.Stderr, command.Dir = log, log, folder
	command.Env = append(os.Environ(), environment...)
	assert.NilError(t, command.Start())
	p := &process{command: command, log: path, ended: make(chan struct{})}
	go func() {
		_ = command.Wait()
		_ = log.Close()
		close(p.ended)
	}()
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

// end sends a signal and waits for the program's end, for which it has 30 s.
func (p *process) end(signal syscall.Signal) {
	_ = p.command.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// tail returns the last lines of the program's output.
func (p *process) tail(lines int) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// await polls until check succeeds.
func await(t testing.TB, what string, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
