package ssh_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/ssh/sshtest"
)

// window is how much the SSH library takes of a session that is not read, on each of its two sides.
const window = 2 * 2 << 20

// closed waits until the server has no session left: a command that floods must end, not only go unread.
func closed(t *testing.T, server *sshtest.Simulated) {
	t.Helper()
	for range 6000 {
		if server.Running() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the command that floods still runs")
}

// flooding is a login shell that prints without end before it runs anything, or after.
func flooding(t *testing.T, script string) string {
	t.Helper()
	shell := filepath.Join(t.TempDir(), "shell")
	assert.NilError(t, os.WriteFile(shell, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	return shell
}

// takes accepts so many bytes.
type takes struct{ bytes int }

var errEnough = errors.New("enough")

func (e *takes) Write(p []byte) (int, error) {
	if e.bytes -= len(p); e.bytes < 0 {
		return 0, errEnough
	}
	return len(p), nil
}

func TestAMachineThatPrintsWithoutEndIsCutOff(t *testing.T) {
	noLines, lines := []string{"cat", "/dev/zero"}, []string{"yes"}
	toErrors := func(script string) []string { return []string{"/bin/sh", "-c", script + " >&2"} }
	for name, c := range map[string]struct {
		shell string
		argv  []string
		live  io.Writer
		limit int64
		err   error
	}{
		"an answer":          {argv: noLines, limit: 4 << 20, err: ssh.ErrFlood},
		"an answer of lines": {argv: lines, limit: 4 << 20, err: ssh.ErrFlood},
		"errors":             {argv: toErrors("cat /dev/zero"), limit: 16 << 20, err: ssh.ErrFlood},
		"errors beside a live output": {
			argv: toErrors("yes"), live: io.Discard, limit: 16 << 20, err: ssh.ErrFlood,
		},
		"what is passed on, by its reader": {argv: noLines, live: &takes{1 << 20}, limit: 1 << 20, err: errEnough},
		"before the command":               {shell: "cat /dev/zero", argv: lines, limit: 1 << 20, err: ssh.ErrFlood},
		"before the command, in lines":     {shell: "yes", argv: lines, limit: 1 << 20, err: ssh.ErrFlood},
		"before the command, as errors":    {shell: "yes >&2", argv: lines, limit: 1 << 20, err: ssh.ErrFlood},
		"after the command": {
			shell: `/bin/sh "$@"; yes`, argv: []string{"true"}, limit: 1 << 20, err: ssh.ErrFlood,
		},
	} {
		t.Run(name, func(t *testing.T) {
			options := sshtest.Options{}
			if c.shell != "" {
				options.Shell = flooding(t, c.shell)
			}
			server, config := simulated(t, options)
			client := dial(t, config)
			result, err := client.Run(t.Context(), ssh.Command{Argv: c.argv, Stdout: c.live})
			assert.ErrorIs(t, err, c.err)
			assert.ErrorContains(t, err, "m1 (127.0.0.1:")
			assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
			assert.Assert(t, int64(len(result.Stdout)+len(result.Stderr)) <= c.limit)
			closed(t, server)
			assert.Assert(t, server.Printed() <= c.limit+window, "%d bytes were taken", server.Printed())
		})
	}
}

func TestAnScpThatAnswersWithoutEndIsCutOff(t *testing.T) {
	data, digest := content(100)
	path := withoutSCP(t)
	script := "#!/bin/sh\n# scp: stands in for a hostile one in a test\nprintf '\\001'; exec yes | tr -d '\\n'\n"
	assert.NilError(t, os.WriteFile(filepath.Join(path, "scp"), []byte(script), 0o755))
	assert.NilError(t, os.Symlink("/usr/bin/yes", filepath.Join(path, "yes")))
	server, config := simulated(t, sshtest.Options{Path: path})
	_, err := dial(t, config).Upload(t.Context(), uploadOf(data, digest, filepath.Join(t.TempDir(), "file")))
	assert.ErrorIs(t, err, ssh.ErrFlood)
	assert.ErrorContains(t, err, "m1 (127.0.0.1:")
	closed(t, server)
	assert.Assert(t, server.Printed() <= 64<<10+window, "%d bytes were taken", server.Printed())
}

func TestALongLineIsQuotedInPart(t *testing.T) {
	_, config := simulated(t, sshtest.Options{})
	_, err := dial(t, config).Run(t.Context(), ssh.Command{
		Argv: []string{"/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1"},
	})
	var failed *ssh.ExitError
	assert.Assert(t, errors.As(err, &failed), "%v", err)
	assert.Assert(t, len(err.Error()) < 4096, "%d bytes", len(err.Error()))
}
