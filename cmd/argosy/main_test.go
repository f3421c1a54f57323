package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/operation"
)

// run runs the program with these arguments and returns its output, its exit code and its error.
func run(t *testing.T, args ...string) (out string, code int, err error) {
	t.Helper()
	var text bytes.Buffer
	root := rootCommand("argosy")
	root.SetOut(&text)
	root.SetErr(&text)
	root.SetArgs(args)
	if err = program.Execute(t.Context(), root); err != nil {
		code = program.ExitCode(err)
	}
	return text.String(), code, err
}

func TestValidateAcceptsTheExample(t *testing.T) {
	out, _, err := run(t, "validate", "--from", "../../examples/team-a", "--cluster", "team-a")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "cluster team-a: vcluster.yaml and argosy.yaml are valid, 4 machines"), out)
}

func TestValidateTellsOfDefaultsAndSettingsWithoutEffect(t *testing.T) {
	folder := t.TempDir()
	const documents = `{apiVersion: v1, kind: ConfigMap, metadata: {name: team-a}, data: {
  vcluster.yaml: "{privateNodes: {enabled: true},
  sync: {toHost: {pods: {enabled: true}}}}", argosy.yaml: "{apiVersion: argosy.dev/v1alpha1,
  kind: Fleet}"}}`
	assert.NilError(t, os.WriteFile(filepath.Join(folder, "cluster.yaml"), []byte(documents), 0o600))
	out, _, err := run(t, "validate", "--from", folder, "--cluster", "team-a")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "a new control plane gets "+components.DefaultKubernetes), out)
	assert.Assert(t, strings.Contains(out, "1 setting has the original's default"), out)
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
		{"no place", []string{"plan"}, "flag --namespace or --from is required"},
		{"a folder without a cluster's name", []string{"validate", "--from", valid}, "--from needs --cluster"},
		{"unknown key", []string{"validate", "--from", folder, "--cluster", "team-a"}, `did you mean "concurrency"`},
		{"missing Secrets", []string{"validate", "--from", valid, "--cluster", "team-a"}, "team-a-known-hosts"},
		{"missing cluster", []string{"validate", "--from", valid, "--cluster", "team-b"}, "team-b"},
		{
			"no kubeconfig",
			[]string{"plan", "--namespace", "a", "--kubeconfig", filepath.Join(valid, "none")},
			"reading the host cluster's kubeconfig",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, code, err := run(t, tt.args...)
			assert.ErrorContains(t, err, tt.says)
			assert.Equal(t, code, program.ExitConfiguration)
		})
	}
}

func TestUnknownCommandsAreUsageErrors(t *testing.T) {
	for want, args := range map[string][]string{
		`unknown command "jion", did you mean "join"?; see "argosy --help"`:             {"jion"},
		`unknown command "shwo", did you mean "show"?`:                                  {"config", "shwo"},
		`unknown command "bahs", did you mean "bash"?`:                                  {"completion", "bahs"},
		`unknown command "jion", did you mean "join"?`:                                  {"help", "jion"},
		`unknown command "shwo", did you mean "show"?; see`:                             {"help", "config", "shwo"},
		`"argosy plan" takes no arguments, not "a", did you mean "--namespace a"?; see`: {"plan", "a"},
		`"argosy plan" takes no arguments, not "m1", did you mean "--machines m1"?`:     {"plan", "-n", "a", "m1"},
		`"argosy status" takes no arguments, not "m1"; see`:                             {"status", "-n", "a", "m1"},
		`"argosy logs" takes the name of one machine, not 0 arguments; see`:             {"logs"},
		`"argosy logs" takes the name of one machine, not 2 arguments; see`:             {"logs", "m1", "m2"},
	} {
		_, code, err := run(t, args...)
		assert.ErrorContains(t, err, want)
		assert.Equal(t, code, program.ExitConfiguration)
	}
}

// Each help text is read, since kubectl's users look for the command line that they typed.
func TestAsAPluginOfKubectlHelpNamesItself(t *testing.T) {
	assert.Equal(t, nameFor("/usr/local/bin/argosy"), "argosy")
	root := rootCommand(nameFor("/usr/local/bin/kubectl-argosy"))
	otherwise := regexp.MustCompile(`(?m)(^ *|"|[^l] )argosy [a-z-]`)
	var checkAll func(command *cobra.Command)
	checkAll = func(command *cobra.Command) {
		var help bytes.Buffer
		command.SetOut(&help)
		assert.NilError(t, command.Help())
		assert.Assert(t, strings.Contains(help.String(), "kubectl argosy"), help.String())
		assert.Assert(t, !otherwise.MatchString(help.String()), help.String())
		for _, child := range command.Commands() {
			checkAll(child)
		}
	}
	checkAll(root)
}

func TestHelpOffersAFolderOnlyWhereOneIsRead(t *testing.T) {
	folder := t.TempDir()
	var offered, refused []string
	var checkAll func(command *cobra.Command)
	checkAll = func(command *cobra.Command) {
		for _, child := range command.Commands() {
			checkAll(child)
		}
		name := strings.TrimPrefix(command.CommandPath(), "argosy ")
		if command.Flags().Lookup("from") == nil {
			return
		}
		help, _, err := run(t, append(strings.Fields(name), "--help")...)
		assert.NilError(t, err)
		args := append(strings.Fields(name), "--from", folder, "--cluster", "team-a")
		if command.Flags().Lookup("machines") != nil {
			args = append(args, "--machines", "m1")
		}
		if strings.Contains(command.Use, "MACHINE") {
			args = append(args, "m1")
		}
		_, code, err := run(t, args...)
		assert.Equal(t, code, program.ExitConfiguration, name)
		if strings.Contains(help, "--from ") {
			offered = append(offered, name)
			assert.ErrorContains(t, err, folder, name)
			return
		}
		refused = append(refused, name)
		assert.ErrorContains(t, err, "flag --from can't be used here", name)
		assert.ErrorContains(t, err, "use --namespace", name)
	}
	checkAll(rootCommand("argosy"))
	slices.Sort(offered)
	slices.Sort(refused)
	assert.DeepEqual(t, offered, []string{
		"abort", "config show", "diff", "images import", "images list", "join", "logs", "pause", "plan", "reconcile",
		"remove", "reset", "resume", "rollback", "status", "upgrade", "validate",
	})
	assert.DeepEqual(t, refused, []string{"backup", "deprovision", "kubeconfig", "provision", "restore"})
}

func TestVerifyIsAHiddenNameOfDoctor(t *testing.T) {
	out, _, err := run(t, "--help")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "\n  doctor ") && !strings.Contains(out, "\n  verify "), out)
	_, code, err := run(t, "verify")
	assert.ErrorContains(t, err, "--namespace")
	assert.Equal(t, code, program.ExitConfiguration)
}

func TestTheTerminalShowsEachPhaseOnce(t *testing.T) {
	var out bytes.Buffer
	terminal := newTerminal(&out)
	for _, event := range []operation.Event{
		{Phase: "bundle", Index: 2, Phases: 11, Detail: "1 of 9 MB"},
		{Phase: "bundle", Index: 2, Phases: 11, Detail: "2 of 9 MB"},
		{Phase: "kernel", Index: 3, Phases: 11, Detail: "setting sysctls"},
		{Phase: "kernel", Index: 3, Phases: 11, Detail: "still"},
	} {
		terminal.of("m1").Report(event)
	}
	assert.Equal(t, strings.Count(out.String(), "\n"), 2, out.String())
	assert.Assert(t, strings.Contains(out.String(), "[2/11 bundle] 1 of 9 MB"), out.String())
	assert.Assert(t, strings.Contains(out.String(), "[3/11 kernel] setting sysctls"), out.String())
}
