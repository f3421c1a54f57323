package main

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
)

// run runs the program with these arguments and returns its output, its exit code and its error.
func run(t *testing.T, args ...string) (out string, code int, err error) {
	t.Helper()
	var text bytes.Buffer
	root := rootCommand()
	root.SetOut(&text)
	root.SetErr(&text)
	root.SetArgs(args)
	if err = program.Execute(t.Context(), root); err != nil {
		code = program.ExitCode(err)
	}
	return text.String(), code, err
}

func TestCommandsOfPeopleAreReferredToArgosy(t *testing.T) {
	for _, command := range []string{"join", "plan", "doctor", "validate"} {
		_, code, err := run(t, command, "--namespace", "team-a")
		assert.ErrorContains(t, err, `"argosy `+command+`"`)
		assert.Equal(t, code, program.ExitConfiguration)
	}
}

func TestHelpListsTheCommandsOfPods(t *testing.T) {
	out, _, err := run(t)
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "serve ") && strings.Contains(out, "bundle ") &&
		!strings.Contains(out, "completion"), out)
}

func TestThePluginHasNothingThatBuildsBundles(t *testing.T) {
	output, err := exec.Command("go", "list", "-deps", ".").Output()
	assert.NilError(t, err)
	packages := strings.Fields(string(output))
	assert.Assert(t, slices.Contains(packages, "argosy.dev/argosy/pkg/bundle"), "the list is incomplete")
	for _, banned := range []string{
		"argosy.dev/argosy/pkg/bundle/release", "argosy.dev/argosy/pkg/bundle/assemble",
		"argosy.dev/argosy/internal/doctor",
	} {
		assert.Assert(t, !slices.Contains(packages, banned), banned)
	}
}
