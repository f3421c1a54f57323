package upgrade

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// nvidia is a table as the NVIDIA container toolkit adds it to containerd's configuration.
const nvidia = `
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.nvidia.options]
BinaryName = '/usr/bin/nvidia-container-runtime'
`

func TestAddedRuntimesStayAtUpgradeAndRollback(t *testing.T) {
	m := newNode(t)
	m.write(layout.ContainerdConfig, m.read(layout.ContainerdConfig)+nvidia)
	m.wantsNewer()
	m.succeeds(spec.KindUpgrade)
	assertHasRuntime(t, m)
	m.succeeds(spec.KindRollback)
	assertHasRuntime(t, m)
}

func assertHasRuntime(t *testing.T, m *machine) {
	t.Helper()
	config := m.read(layout.ContainerdConfig)
	assert.Assert(t, strings.Contains(config, "/usr/bin/nvidia-container-runtime"), config)
}
