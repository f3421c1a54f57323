package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestGeneratedFilesAreThoseOfThePlugin(t *testing.T) {
	files, err := generate(".")
	assert.NilError(t, err)
	assert.Equal(t, len(files), 2)
	for name, want := range files {
		got, err := os.ReadFile(name)
		assert.NilError(t, err, `run "go generate ./install/plugin"`)
		assert.Equal(t, string(got), string(want), `%s is older than plugin.yaml: run "go generate ./install/plugin"`,
			name)
	}
}

// The errors that this test finds would be seen only when an agent pod fails.
func TestSidecarFitsArgosAgent(t *testing.T) {
	files, err := generate(".")
	assert.NilError(t, err)
	var configMap corev1.ConfigMap
	assert.NilError(t, yaml.UnmarshalStrict(files["argosy-executor-plugin-configmap.yaml"], &configMap))
	assert.Equal(t, configMap.Name, "argosy-executor-plugin")
	assert.Equal(t, configMap.Labels["workflows.argoproj.io/configmap-type"], "ExecutorPlugin")
	assert.Equal(t, configMap.Data["sidecar.automountServiceAccountToken"], "true")

	var container corev1.Container
	assert.NilError(t, yaml.UnmarshalStrict([]byte(configMap.Data["sidecar.container"]), &container))
	assert.Equal(t, container.Ports[0].ContainerPort, int32(14500), "the agent calls the first port")
	assert.DeepEqual(t, container.Resources.Requests, container.Resources.Limits)
	security := container.SecurityContext
	assert.Equal(t, *security.RunAsUser, int64(8737), "only this user may read the token")
	assert.Assert(t, *security.RunAsNonRoot && *security.ReadOnlyRootFilesystem && !*security.AllowPrivilegeEscalation)
	assert.DeepEqual(t, security.Capabilities.Drop, []corev1.Capability{"ALL"})
	assert.Equal(t, security.SeccompProfile.Type, corev1.SeccompProfileTypeRuntimeDefault)
}

func TestAPluginThatArgoWouldRefuseIsNotGenerated(t *testing.T) {
	valid, err := os.ReadFile(manifest)
	assert.NilError(t, err)
	for name, test := range map[string]struct{ old, new, want string }{
		"unknown key": {"sidecar:", "sidcar:", `unknown field "sidcar"`},
		"no port": {
			"- name: plugin\n          containerPort: 14500\n          protocol: TCP", "[]",
			"at least one port",
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			broken := strings.Replace(string(valid), test.old, test.new, 1)
			assert.Assert(t, broken != string(valid))
			assert.NilError(t, os.WriteFile(filepath.Join(folder, manifest), []byte(broken), 0o600))
			_, err := generate(folder)
			assert.Assert(t, is.ErrorContains(err, test.want))
		})
	}
}
