package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
)

// overridden is a folder with the example cluster, one of whose machines has settings of its own and a login.
func overridden(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../examples/team-a/cluster.yaml")
	assert.NilError(t, err)
	own := "        address: 192.0.2.11\n        join:\n          binariesPath: /opt/bin\n" +
		"          containerd: {registry: {auth: {ghcr.io: {username: me, password: hunter2}}}}\n"
	changed := strings.Replace(string(text), "        address: 192.0.2.11\n", own, 1)
	assert.Assert(t, changed != string(text))
	folder := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(folder, "cluster.yaml"), []byte(changed), 0o600))
	return folder
}

func TestConfigShowPrintsBothDocumentsWithoutSecrets(t *testing.T) {
	out, _, err := run(t, "config", "show", "--from", overridden(t), "--cluster", "team-a", "-o", "yaml")
	assert.NilError(t, err)
	vcluster, fleet, found := strings.Cut(out, "---\n")
	assert.Assert(t, found && strings.HasPrefix(vcluster, "# vcluster.yaml\n") &&
		strings.HasPrefix(fleet, "# argosy.yaml\n"), out)
	assert.Assert(t, cmp.Contains(vcluster, "serviceCIDR: 10.96.0.0/12"))
	assert.Assert(t, cmp.Contains(fleet, "password: <redacted>"))
	assert.Assert(t, !strings.Contains(out, "hunter2"))

	out, _, err = run(t, "config", "show", config.FleetDocument, "--from", overridden(t), "--cluster", "team-a")
	assert.NilError(t, err)
	assert.Equal(t, out, fleet)
}

func TestConfigShowOfAMachineListsItsOverrides(t *testing.T) {
	out, _, err := run(t, "config", "show", "--from", overridden(t), "--cluster", "team-a", "--machine", "gpu-1")
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(out, "# machine gpu-1 overrides:\n#   binariesPath: /opt/bin instead of "+
		"/usr/local/bin\n"), out)
	assert.Assert(t, !strings.Contains(out, "hunter2"))
}

func TestConfigShowOfTheDefaultsNeedsNoCluster(t *testing.T) {
	out, _, err := run(t, "config", "show", "--defaults")
	assert.NilError(t, err)
	vcluster, fleet, _ := strings.Cut(out, "---\n")
	_, err = config.Parse("team-a", []byte(vcluster), []byte(fleet+"cluster: {kubeconfigSecret: a}\nmachines: "+
		"[{name: a, address: b}]\n"))
	assert.NilError(t, err)
}

func TestConfigSchemaPrintsTheSchemaThatIsShipped(t *testing.T) {
	for document, file := range map[string]string{
		config.VClusterDocument: "vcluster.schema.json",
		config.FleetDocument:    "fleet.schema.json",
	} {
		shipped, err := os.ReadFile("../../docs/schema/" + file)
		assert.NilError(t, err)
		out, _, err := run(t, "config", "schema", document)
		assert.NilError(t, err)
		assert.Equal(t, out, string(shipped))
	}
}

func TestConfigExplainShowsMeaningAndEffectOfAKey(t *testing.T) {
	for key, wants := range map[string][]string{
		"machines.ssh.port": {
			"KEY:        machines[].ssh.port\n", "DOCUMENT:   argosy.yaml\n",
			"TYPE:       whole number\n", "A CHANGE:   with the next workflow: ",
		},
		"privateNodes.joinNode.containerd.registry.mirrors": {
			"mirrors.<registry>\n", "KEYS:\n", "\n  hosts[]",
			"Server is asked when no host answers",
		},
		"privateNodes.autoNodes": {
			"A CHANGE:  no effect",
			"Argosy joins machines that exist",
		},
		"bundles.delivery": {"ALLOWED:    auto, pull, push, spread\n", "DEFAULT:    auto\n"},
		"controlPlane": {
			"DOCUMENT:  vcluster.yaml\n", "DOCUMENT:  argosy.yaml\n",
			"  endpoint", "  timeout",
		},
		"machines.name":             {"REQUIRED:   yes\n"},
		"controlPlane.service.spec": {"In it, ports is Argosy's own"},
		"":                          {"privateNodes", "machines[]"},
	} {
		out, _, err := run(t, "config", "explain", key)
		assert.NilError(t, err)
		for _, want := range wants {
			assert.Check(t, cmp.Contains(out, want), key)
		}
	}
}

func TestMistakesInConfigCommandsAreAnswered(t *testing.T) {
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"show"}, "flag --namespace or --from is required"},
		{[]string{"show", "fleet.yaml", "--defaults"}, "only vcluster.yaml and argosy.yaml are known"},
		{[]string{"show", "--defaults", "--machine", "a"}, "--defaults excludes --machine"},
		{[]string{"show", "--defaults", "-o", "json"}, `flag --output "json"`},
		{
			[]string{"show", "--from", "../../examples/team-a", "--cluster", "team-a", "--machine", "gpu1"},
			`did you mean "gpu-1"?`,
		},
		{[]string{"schema", "cluster.yaml"}, "unknown document"},
		{[]string{"explain", "pauseImage"}, "did you mean privateNodes.joinNode.containerd.pauseImage (vcluster.yaml)"},
		{[]string{"explain", "zzz"}, "lists the sections"},
	} {
		_, code, err := run(t, append([]string{"config"}, tt.args...)...)
		assert.ErrorContains(t, err, tt.says)
		assert.Equal(t, code, program.ExitConfiguration, tt.says)
	}
}
