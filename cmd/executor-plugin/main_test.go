package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// run is the program with these arguments: what it prints, its exit code and its error.
func run(t *testing.T, args ...string) (out string, code int, err error) {
	t.Helper()
	var text bytes.Buffer
	root := rootCommand()
	root.SetOut(&text)
	root.SetErr(&text)
	root.SetArgs(args)
	if err = root.ExecuteContext(t.Context()); err != nil {
		code = exitCode(err)
	}
	return text.String(), code, err
}

func TestValidateAcceptsTheExample(t *testing.T) {
	out, _, err := run(t, "validate", "--from", "../../examples/team-a", "--cluster", "team-a")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "cluster team-a: vcluster.yaml and argosy.yaml are valid, 4 machines"), out)
}

func TestMistakesEndWithTheirOwnExitCode(t *testing.T) {
	folder := t.TempDir()
	example, err := os.ReadFile("../../examples/team-a/cluster.yaml")
	assert.NilError(t, err)
	broken := strings.Replace(string(example), "concurrency: 5", "concurency: 5", 1)
	assert.NilError(t, os.WriteFile(filepath.Join(folder, "cluster.yaml"), []byte(broken), 0o600))
	valid := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(valid, "cluster.yaml"), example, 0o600))

	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"unknown flag", []string{"plan", "--clutser", "a"}, "clutser"},
		{"no place", []string{"plan"}, "--namespace of the host cluster, or --from a folder"},
		{"a folder without a cluster's name", []string{"validate", "--from", valid}, "--from needs --cluster"},
		{"unknown key", []string{"validate", "--from", folder, "--cluster", "team-a"}, `did you mean "concurrency"`},
		{"missing Secrets", []string{"validate", "--from", valid, "--cluster", "team-a"}, "team-a-known-hosts"},
		{"missing cluster", []string{"validate", "--from", valid, "--cluster", "team-b"}, "team-b"},
		{"no kubeconfig", []string{"plan", "--namespace", "a", "--kubeconfig", filepath.Join(valid, "none")},
			"reading the host cluster's kubeconfig"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, code, err := run(t, tt.args...)
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, code, exitConfiguration)
		})
	}
}

func TestTheTerminalShowsEachPhaseOnce(t *testing.T) {
	var out bytes.Buffer
	terminal := newTerminal(&out)
	for _, text := range []string{"[2/11 bundle] 1 of 9 MB", "[2/11 bundle] 2 of 9 MB", "[3/11 kernel] setting sysctls",
		"[3/11 kernel] still"} {
		terminal.progress("m1", text)
	}
	assert.Equal(t, strings.Count(out.String(), "\n"), 2, out.String())
	assert.Assert(t, strings.Contains(out.String(), "1 of 9 MB") && strings.Contains(out.String(), "setting sysctls"),
		out.String())
}
