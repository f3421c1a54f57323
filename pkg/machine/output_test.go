package machine_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

// ended waits until the machine runs nothing for us any more.
func (l *lab) ended(t *testing.T) {
	t.Helper()
	for range 6000 {
		if l.server.Running() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("argosy-node still runs")
}

func TestAMachineThatFloodsIsNamedAndAskedNoMore(t *testing.T) {
	watch := func(l *lab) error {
		_, err := l.Watch(t.Context(), "op1", nil)
		return err
	}
	inspect := func(l *lab) error {
		_, err := l.Inspect(t.Context(), spec.Question{})
		return err
	}
	feed := func(l *lab) error {
		return l.Feed(t.Context(), "op1", func(context.Context, string) (io.ReadCloser, error) { return nil, io.EOF })
	}
	status := `{"id":"op1","state":"running"}`
	// Long ones pass faster than the bound also where many others use the processors.
	long := `{"id":"op1","state":"running","phase":"` + strings.Repeat("a", 100<<10) + `"}`
	for name, c := range map[string]struct {
		does func(*lab) error
		// flood is the script that argosy-node runs instead of answering.
		flood string
		says  string
	}{
		"a watch, one line":          {watch, "cat /dev/zero", "more than 1048576 bytes in one line"},
		"a watch, one status":        {watch, `printf '{"id":"op1"'; cat /dev/zero`, "1048576 bytes in one line"},
		"a watch, other lines":       {watch, "yes", "1048576 bytes in lines that are no status"},
		"a watch, after a status":    {watch, "echo '" + status + "'; yes", "bytes in lines that are no status"},
		"a watch, statuses":          {watch, "yes '" + long + "'", "faster than they are shown"},
		"an inspection":              {inspect, "cat /dev/zero", "more than 4194304 bytes in one answer"},
		"an inspection, lines":       {inspect, "yes", "more than 4194304 bytes in one answer"},
		"a feed, one line":           {feed, "cat /dev/zero", "more than 65536 bytes"},
		"a feed, lines":              {feed, "yes", `unknown request "y"`},
		"a watch, on standard error": {watch, "yes >&2", "more than 16777216 bytes on standard error"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, sshtest.Options{}, fakeAgent{})
			_, err := l.Inspect(t.Context(), spec.Question{})
			assert.NilError(t, err)
			assert.NilError(t, os.WriteFile(filepath.Join(l.state, "flood"), []byte(c.flood), 0o600))
			l.server.Execs()
			before := l.server.Printed()
			err = c.does(l)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, `machine "m1"`)
			assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
			l.ended(t)
			assert.Equal(t, len(l.server.Execs()), 1, "it was asked again")
			// The two sides of the connection hold up to 2 MiB each that are not read.
			assert.Assert(t, l.server.Printed()-before < (16+4+1)<<20, "%d bytes", l.server.Printed()-before)
		})
	}
}

func TestOutputOfALoginShellDoesNoHarm(t *testing.T) {
	shell := filepath.Join(t.TempDir(), "shell")
	script := "#!/bin/sh\necho 'Welcome to m1!'; echo '{\"id\":\"op1\",\"state\":\"failed\"}'; echo yes 0 yes\n" +
		"/bin/sh \"$@\"\ncode=$?\necho '{\"key\":\"b\"}'; echo bye\nexit $code\n"
	assert.NilError(t, os.WriteFile(shell, []byte(script), 0o755))
	l := newLab(t, sshtest.Options{Shell: shell}, fakeAgent{})
	t.Setenv("FAKE_FEED_BYTES", "9")

	facts, err := l.Inspect(t.Context(), spec.Question{})
	assert.NilError(t, err)
	assert.Equal(t, facts.Hostname, "fake")
	assert.Equal(t, len(l.server.Execs()), 4)
	_, err = l.Inspect(t.Context(), spec.Question{})
	assert.NilError(t, err)
	assert.Equal(t, len(l.server.Execs()), 1, "a plan costs one exec")
	status, err := l.Start(t.Context(), spec.Operation{ID: "op1"})
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Running)
	var asked []string
	assert.NilError(t, l.Feed(t.Context(), "op1", func(_ context.Context, key string) (io.ReadCloser, error) {
		asked = append(asked, key)
		return io.NopCloser(os.Stdin), io.EOF
	}))
	assert.DeepEqual(t, asked, []string{"a"})
	l.touch(t, "done")
	last, err := l.Watch(t.Context(), "op1", nil)
	assert.NilError(t, err)
	assert.Equal(t, last.State, spec.Succeeded)
}

func TestALoginShellThatRunsNothingIsNotWatchedAgain(t *testing.T) {
	shell := filepath.Join(t.TempDir(), "shell")
	words := "This account is currently not available."
	assert.NilError(t, os.WriteFile(shell, []byte("#!/bin/sh\necho '"+words+"'\nexit 1\n"), 0o755))
	l := newLab(t, sshtest.Options{Shell: shell}, fakeAgent{})
	_, err := l.Watch(t.Context(), "op1", nil)
	var refused *ssh.ShellError
	assert.Assert(t, errors.As(err, &refused), "%v", err)
	assert.Equal(t, refused.Output, words)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	assert.Equal(t, len(l.server.Execs()), 1)
}

// failsOnce returns a login shell that fails once when the file is there, which it then removes.
func failsOnce(t *testing.T) (shell, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "down")
	shell = filepath.Join(t.TempDir(), "shell")
	script := "#!/bin/sh\nif [ -f " + file + " ]; then rm " + file + "; echo no home; exit 1; fi\nexec /bin/sh \"$@\"\n"
	assert.NilError(t, os.WriteFile(shell, []byte(script), 0o755))
	return shell, file
}

func TestSendingSurvivesALoginShellThatFailsDuringBoot(t *testing.T) {
	shell, down := failsOnce(t)
	l := newLab(t, sshtest.Options{Shell: shell}, fakeAgent{})
	t.Setenv("FAKE_FEED_BYTES", "9")
	_, err := l.Inspect(t.Context(), spec.Question{})
	assert.NilError(t, err)
	opened := 0
	err = l.Feed(t.Context(), "op1", func(context.Context, string) (io.ReadCloser, error) {
		if opened++; opened == 1 {
			assert.Check(t, os.WriteFile(down, nil, 0o600))
			l.server.Cut()
		}
		return io.NopCloser(strings.NewReader("hello")), nil
	})
	assert.NilError(t, err)
	assert.Equal(t, opened, 2)
	_, err = os.Stat(down)
	assert.Assert(t, os.IsNotExist(err), "the shell has not failed")
}

func TestALoginShellThatFailsDuringBootIsTriedAgain(t *testing.T) {
	shell, down := failsOnce(t)
	l := newLab(t, sshtest.Options{Shell: shell}, fakeAgent{})
	seen := 0
	last, err := l.Watch(t.Context(), "op1", func(spec.Status) {
		if seen++; seen > 1 {
			l.touch(t, "done")
			return
		}
		assert.Check(t, os.WriteFile(down, nil, 0o600))
		go l.server.Cut()
	})
	assert.NilError(t, err)
	assert.Equal(t, last.State, spec.Succeeded)
	_, err = os.Stat(down)
	assert.Assert(t, os.IsNotExist(err), "the shell has not failed")
}

// forbidden is a connection on which sh may not start programs, as NOEXEC in sudoers has it.
type forbidden struct{ machine.Connection }

func (forbidden) Run(context.Context, ssh.Command) (ssh.Result, error) {
	return ssh.Result{ExitCode: 126}, &ssh.ExitError{
		Host: "m1", Command: "sudo /bin/sh", ExitCode: 126,
		Tail: []string{"sh: 1: exec: /bin/sh: Permission denied"},
	}
}

func TestSudoersThatForbidProgramsAreNamed(t *testing.T) {
	connect := func(context.Context) (machine.Connection, error) { return forbidden{}, nil }
	_, err := machine.New("m1", connect, fakeAgent{}, "").Inspect(t.Context(), spec.Question{})
	assert.ErrorContains(t, err, "NOEXEC in sudoers")
	assert.ErrorContains(t, err, "/bin/sh: Permission denied")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
}

func TestFoldersThatCannotHoldTheProgramAreToldApart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("it mounts a file system, which needs root; CI runs it as root")
	}
	for name, test := range map[string]struct {
		flags        uintptr
		below        string
		cause, other string
	}{
		"noexec":    {syscall.MS_NOEXEC, "", "is mounted noexec; set", "read-only"},
		"read-only": {syscall.MS_RDONLY, "", "is mounted read-only, or the folder", "noexec"},
		"folder that cannot be made": {
			syscall.MS_RDONLY, "new/bin", "is mounted read-only, or the folder",
			"noexec",
		},
		"both: nothing can be placed":    {syscall.MS_RDONLY | syscall.MS_NOEXEC, "", "is mounted read-only", "noexec"},
		"noexec, and a folder not there": {syscall.MS_NOEXEC, "new/bin", "is mounted noexec; set", "read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, sshtest.Options{}, fakeAgent{})
			assert.NilError(t, syscall.Mount("tmpfs", l.binaries, "tmpfs", test.flags, ""))
			t.Cleanup(func() { assert.Check(t, syscall.Unmount(l.binaries, 0)) })
			folder := filepath.Join(l.binaries, test.below)
			_, err := machine.New("m1", l.connect, fakeAgent{}, folder).Inspect(t.Context(), spec.Question{})
			assert.ErrorContains(t, err, test.cause)
			assert.ErrorContains(t, err, "set privateNodes.autoUpgrade.binariesPath, or join.binariesPath of the "+
				"machine")
			assert.Assert(t, !strings.Contains(err.Error(), test.other), "%v", err)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}
