package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	changed, err := h.WriteFile("/etc/argosy/a.conf", []byte("one"), 0o600)
	assert.NilError(t, err)
	assert.Assert(t, changed)
	before, err := os.Stat(h.Path("/etc/argosy/a.conf"))
	assert.NilError(t, err)
	assert.Equal(t, before.Mode(), os.FileMode(0o600))

	changed, err = h.WriteFile("/etc/argosy/a.conf", []byte("one"), 0o600)
	assert.NilError(t, err)
	assert.Assert(t, !changed)
	after, err := os.Stat(h.Path("/etc/argosy/a.conf"))
	assert.NilError(t, err)
	assert.Assert(t, os.SameFile(before, after), "what is right is not written again")

	assert.NilError(t, os.WriteFile(TempName(h.Path("/etc/argosy/a.conf")), []byte("left by a crash, and longer"),
		0o644))
	_, err = h.WriteFile("/etc/argosy/a.conf", []byte("two"), 0o644)
	assert.NilError(t, err)
	assert.Assert(t, h.Holds("/etc/argosy/a.conf", []byte("two")))
	entries, err := os.ReadDir(h.Path("/etc/argosy"))
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 1)
}

func TestALinkIsReplaced(t *testing.T) {
	h := &Host{Root: t.TempDir()}
	for _, target := range []string{"/one", "/two", "/two"} {
		assert.NilError(t, h.Link(target, "/etc/link"))
		got, err := os.Readlink(h.Path("/etc/link"))
		assert.NilError(t, err)
		assert.Equal(t, got, target)
	}
}

func TestACommandIsShownAsItCanBePasted(t *testing.T) {
	c := Command{Argv: []string{"systemctl", "restart", "it's $(here)", "", "a=b", "--x=/y"}}
	assert.Equal(t, c.String(), `systemctl restart 'it'\''s $(here)' '' a=b --x=/y`)
}

func TestAFailedCommandTellsItsLastWords(t *testing.T) {
	var log bytes.Buffer
	output, err := Processes{}.Run(context.Background(), Command{Argv: []string{
		"sh", "-c",
		"echo one; echo two >&2; echo $WORD; exit 3",
	}, Env: []string{"WORD=three"}, Log: &log})
	var failed *CommandError
	assert.Assert(t, errors.As(err, &failed))
	assert.DeepEqual(t, failed.Tail(2), []string{"two", "three"})
	assert.ErrorContains(t, err, "exit status 3: three")
	assert.Equal(t, string(output), "one\ntwo\nthree\n")
	assert.Equal(t, log.String(), string(output))
}

func TestLastWordsAreWithoutColours(t *testing.T) {
	const output = "\x1b[0;37mOS\x1b[0m: \x1b[1;32mLinux\x1b[0m\r\n\x1b[2K\n[ERROR Swap]: it is on\n"
	assert.DeepEqual(t, Tail([]byte(output), 2), []string{"OS: Linux", "[ERROR Swap]: it is on"})
}

func TestCommandAndItsChildrenEndWithContext(t *testing.T) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	marker := filepath.Join(t.TempDir(), "started")
	done := make(chan error, 1)
	go func() {
		_, err := Processes{}.Run(ctx, Command{Argv: []string{"sh", "-c", `sleep 60 & touch "$0"; wait`, marker}})
		done <- err
	}()
	for {
		if _, err := os.Stat(marker); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel(cause)
	assert.ErrorIs(t, <-done, cause)
}

func TestChildrenThatIgnoreSIGTERMAreKilled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	marker := filepath.Join(t.TempDir(), "pid")
	done := make(chan error, 1)
	go func() {
		// The child ignores SIGTERM and holds no output, so Run does not wait for it.
		_, err := Processes{}.Run(ctx, Command{Argv: []string{
			"sh", "-c",
			`(trap "" TERM; exec sleep 60) >/dev/null 2>&1 & echo $! >"$0.new"; mv "$0.new" "$0"; wait`, marker,
		}})
		done <- err
	}()
	var pid int
	for pid == 0 {
		if data, err := os.ReadFile(marker); err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
			assert.NilError(t, err)
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
	for syscall.Kill(pid, 0) == nil && !zombie(pid) {
		time.Sleep(time.Millisecond)
	}
}

// zombie reports whether the process has ended without being waited for.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}
