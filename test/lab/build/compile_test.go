package build

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

func TestProgramIsBuiltOnce(t *testing.T) {
	b := newCache(t)
	log := &strings.Builder{}
	b.Log = log
	first, err := b.pause(t.Context())
	assert.NilError(t, err)
	second, err := b.pause(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, first, second)
	assert.Equal(t, strings.Count(log.String(), ": built in "), 1)
}

func TestPauseCollectsChildrenAndEndsWhenAskedTo(t *testing.T) {
	b := newCache(t)
	folder, err := b.pause(t.Context())
	assert.NilError(t, err)
	// The shell starts a child and then becomes pause, whose child it is from then on.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `sleep 0.2 & echo $!; exec "$0"`,
		filepath.Join(folder, "pause"))
	out, err := cmd.StdoutPipe()
	assert.NilError(t, err)
	assert.NilError(t, cmd.Start())
	line := make([]byte, 16)
	n, err := out.Read(line)
	assert.NilError(t, err)
	child := filepath.Join("/proc", strings.TrimSpace(string(line[:n])))
	for isFolder(child) {
		// A child that is not collected stays here for good, until the test's own deadline.
		time.Sleep(10 * time.Millisecond)
	}
	assert.NilError(t, cmd.Process.Signal(syscall.SIGTERM))
	assert.NilError(t, cmd.Wait())
}

func TestFailedCompilationShowsOutputAndCommand(t *testing.T) {
	b := newCache(t)
	b.Source = t.TempDir()
	write(t, filepath.Join(b.Source, "modules/thing/go.mod"), "module example.org/thing\n\ngo 1.25\n")
	write(t, filepath.Join(b.Source, "modules/thing/main.go"), "package main\n\nfunc main() { undefinedName() }\n")
	r := recipe{
		Component: "thing", Module: "thing", Version: "v1",
		Programs: map[string]string{"thing": "example.org/thing"},
	}
	_, err := b.programs(t.Context(), r, nil)
	assert.ErrorContains(t, err, "undefined: undefinedName")
	assert.ErrorContains(t, err, "go build -mod=readonly")

	write(t, filepath.Join(b.Source, "modules/thing/main.go"),
		"package main\n\nfunc main() { println(\"thing v1\") }\n")
	r.Programs = map[string]string{"renamed": "example.org/thing"}
	r.Versions = []versionCheck{{Call: []string{"renamed"}, Holds: "thing v2"}}
	_, err = b.programs(t.Context(), r, nil)
	assert.ErrorContains(t, err, `without "thing v2"`)

	r.Versions[0].Holds = "thing v1"
	folder, err := b.programs(t.Context(), r, nil)
	assert.NilError(t, err)
	_, err = os.Stat(filepath.Join(folder, "renamed"))
	assert.NilError(t, err)
}

func TestAProgramThatIsNotStaticIsRefused(t *testing.T) {
	folder := t.TempDir()
	r := recipe{Programs: map[string]string{"shell": "example.org/shell"}}
	// Debian's shell, like all of its programs, needs the C library.
	assert.NilError(t, os.Symlink("/bin/sh", filepath.Join(folder, "shell")))
	assert.ErrorContains(t, checkStatic(r, folder), `checking how "shell" is linked: it is not static`)

	pause, err := newCache(t).pause(t.Context())
	assert.NilError(t, err)
	r.Programs = map[string]string{"pause": "example.org/pause"}
	assert.NilError(t, checkStatic(r, pause))
}

func TestOnlyLinesThatNameAPackageAreCounted(t *testing.T) {
	p := &progress{}
	rest := countPackages(strings.NewReader("go: downloading example.org/a v1.0.0\nexample.org/a\nfmt\n"+
		"# example.org/b\nb.go:1:2: undefined: c\n"), p)
	assert.Equal(t, p.packages.Load(), int64(2))
	assert.Equal(t, rest, "# example.org/b\nb.go:1:2: undefined: c")
}
