package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
)

// maxSize of the stripped program: it travels to every machine, over whatever line there is.
const maxSize = 10 << 20

func TestTheProgramIsSmallAndStaticForEachArchitecture(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "argosy-node")
			build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
			output, err := build.CombinedOutput()
			assert.NilError(t, err, "%s", output)
			info, err := os.Stat(file)
			assert.NilError(t, err)
			assert.Assert(t, info.Size() < maxSize, "%d bytes", info.Size())
		})
	}
}

func TestTheProgramHasNoKubernetesInIt(t *testing.T) {
	output, err := exec.Command("go", "list", "-deps", ".").Output()
	assert.NilError(t, err)
	packages := strings.Fields(string(output))
	assert.Assert(t, len(packages) > 100, "that list is too short to be true")
	for _, name := range packages {
		for _, banned := range []string{
			"k8s.io/", "sigs.k8s.io/", "golang.org/x/crypto/ssh", "github.com/argoproj/",
			"argosy.dev/argosy/pkg/config",
		} {
			assert.Assert(t, !strings.HasPrefix(name, banned), name)
		}
	}
}

func call(t *testing.T, in string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(context.Background(), args, strings.NewReader(in), &out)
	return out.String(), err
}

func TestWrongCallsSayWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		in   string
		says string
	}{
		"no command":        {nil, "", "a command is missing"},
		"unknown command":   {[]string{"destroy"}, "", `there is no command "destroy"`},
		"unknown flag":      {[]string{"watch", "--all"}, "", "flag provided but not defined: -all"},
		"one too many":      {[]string{"inspect", "now"}, "", `"now" is one argument too many`},
		"no id":             {[]string{"watch"}, "", "reading the operation's id"},
		"id that is a path": {[]string{"cancel", "--id", "../../etc"}, "", "reading the operation's id"},
		"no operation":      {[]string{"plan"}, "", "reading the operation from standard input"},
		"unknown field":     {[]string{"plan"}, `{"id":"a","wish":1}`, `unknown field "wish"`},
		"unknown kind":      {[]string{"plan"}, `{"id":"a","kind":"dance"}`, `does not know the kind "dance"`},
		"empty import":      {[]string{"plan"}, `{"id":"a","kind":"images"}`, `field "images" is required`},
		"feed without pipe": {[]string{"feed", "--id", "a"}, "", "have to be open files"},
		"empty join":        {[]string{"plan"}, `{"id":"a","kind":"join"}`, `operation "a": field "join" is required`},
		"empty upgrade":     {[]string{"plan"}, `{"id":"a","kind":"upgrade"}`, `field "join" is required`},
		"empty reset":       {[]string{"plan"}, `{"id":"a","kind":"reset"}`, `field "reset" is required`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call(t, test.in, test.args...)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

func TestHelpAndVersionAnswer(t *testing.T) {
	out, err := call(t, "", "--help")
	assert.NilError(t, err)
	for _, command := range []string{"inspect", "plan", "start", "watch", "cancel", "feed", "run", "version"} {
		assert.Assert(t, strings.Contains(out, "argosy-node "+command), command)
	}
	out, err = call(t, "", "version")
	assert.NilError(t, err)
	assert.Assert(t, json.Valid([]byte(out)), out)
}

func TestInspectTellsAboutThisComputer(t *testing.T) {
	out, err := call(t, "", "inspect")
	assert.NilError(t, err)
	assert.Equal(t, strings.Count(out, "\n"), 1, "one line")
	var facts spec.Facts
	assert.NilError(t, json.Unmarshal([]byte(out), &facts))
	hostname, err := os.Hostname()
	assert.NilError(t, err)
	assert.Equal(t, facts.Hostname, hostname)
	assert.Assert(t, facts.MemoryBytes > 0)
	assert.Assert(t, facts.DiskFreeBytes > 0)
	assert.Assert(t, facts.CPUs > 0)
	assert.Assert(t, facts.Kernel != "")
}
