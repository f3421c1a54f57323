package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/operation"
)

// openTerminal returns a terminal of the kernel, 100 cells wide, and its other side, from which its output is read.
func openTerminal(t *testing.T) (tty, other *os.File) {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	assert.NilError(t, err)
	t.Cleanup(func() { _ = other.Close() })
	fd := int(other.Fd())
	assert.NilError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	assert.NilError(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	assert.NilError(t, err)
	assert.NilError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}))
	return tty, other
}

// shownOn returns the text that a terminal shows of show, with all sequences.
func shownOn(t *testing.T, show func(tty *os.File)) string {
	t.Helper()
	tty, other := openTerminal(t)
	show(tty)
	assert.NilError(t, tty.Close())
	text, _ := io.ReadAll(other) // the end of a terminal is an error
	return string(text)
}

func TestATerminalShowsStepsAndPlansInALiveTable(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for _, none := range []string{"", "1"} {
		t.Setenv(noColor, none)
		shown := shownOn(t, func(tty *os.File) {
			assert.Check(t, runSteps(tty, step{"provision", func(report func(string)) (fmt.Stringer, error) {
				report("[3/4 pods] waiting for pod team-b-0")
				return text("done"), nil
			}}, step{"verify", func(func(string)) (fmt.Stringer, error) { return text("is well"), nil }}))
			_, err := planOn(tty, func(progress operation.Progress) (int, error) {
				progress.Report(operation.Event{
					Done: 1, Total: 2, Unit: operation.Machines, Detail: "inspected 1 of 2",
				})
				return 0, nil
			})
			assert.Check(t, err)
		})
		assert.Assert(t, strings.Contains(shown, "  to come\r\n"), "%q", shown)
		assert.Assert(t, strings.Contains(shown, "inspected 1 of 2"), "%q", shown)
		assert.Assert(t, strings.HasSuffix(shown, "\x1b[1A\r\x1b[J"), "the row of the plan is gone: %q", shown)
		assert.Equal(t, strings.Contains(shown, "\x1b[32m"), none == "", "%q", shown)
	}
	t.Setenv("TERM", "dumb")
	shown := shownOn(t, func(tty *os.File) {
		assert.Check(t, runSteps(tty, step{"verify", func(report func(string)) (fmt.Stringer, error) {
			report("[1/2 pods] asking")
			return text("is well"), nil
		}}))
	})
	assert.Assert(t, !strings.Contains(shown, "\x1b["), "%q", shown)
	assert.Equal(t, strings.Count(shown, "\n"), 2, "%q", shown)
}
