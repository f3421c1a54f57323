package join

import (
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/layout"
)

// nvidiaV2 has the runtime that the NVIDIA container toolkit adds, in a file of containerd 1.7.
const nvidiaV2 = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
enable_cdi = true
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "nvidia"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
privileged_without_host_devices = false
runtime_engine = ""
runtime_root = ""
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
SystemdCgroup = false
`

// section returns the part of containerd's configuration that has runtimes.
func (m *machine) section() criConfig {
	m.t.Helper()
	sections := readCRIConfigs(m.host, layout.ContainerdConfig)
	assert.Equal(m.t, len(sections), 2)
	return sections[1]
}

func TestRuntimesOfAForeignConfigurationStay(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	m.write(layout.ContainerdConfig, nvidiaV2)
	apply(t, m, applyContainerd)
	section := m.section()
	nvidia := section.Containerd.Runtimes["nvidia"]
	assert.Equal(t, section.Containerd.Default, "nvidia")
	assert.Assert(t, *section.EnableCDI)
	assert.DeepEqual(t, nvidia, table{
		"runtime_type": "io.containerd.runc.v2", "privileged_without_host_devices": false,
		"options": table{"BinaryName": "/usr/bin/nvidia-container-runtime", "SystemdCgroup": true},
	})
	assert.Equal(t, section.Containerd.Runtimes["runc"]["options"].(table)["BinaryName"], "/usr/local/bin/runc")
	assert.Assert(t, holds(t, m, checkContainerd))
	assert.Equal(t, m.before(layout.ContainerdConfig), nvidiaV2, "a reset gives the owner's file back")
}

func TestRuntimesThatAToolAddedToOurFileStay(t *testing.T) {
	for name, runtime := range map[string]table{
		"nvidia": {
			"runtime_type": "io.containerd.runc.v2",
			"options":      table{"BinaryName": "/usr/bin/nvidia-container-runtime"},
		},
		"crun":  {"runtime_type": "io.containerd.runc.v2", "options": table{"BinaryName": "/usr/bin/crun"}},
		"kata":  {"runtime_type": "io.containerd.kata.v2", "privileged_without_host_devices": true},
		"runsc": {"runtime_type": "io.containerd.runsc.v1"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t).withBundle()
			m.socket()
			apply(t, m, applyContainerd)
			// As the toolkit does it: the file is read, changed and written without its comments.
			file := table{}
			assert.NilError(t, toml.Unmarshal([]byte(m.read(layout.ContainerdConfig)), &file))
			containerd := file["plugins"].(table)[runtimeSection].(table)["containerd"].(table)
			containerd["runtimes"].(table)[name] = runtime
			edited, err := toml.Marshal(file)
			assert.NilError(t, err)
			m.write(layout.ContainerdConfig, string(edited))
			apply(t, m, applyContainerd)
			kept := m.section().Containerd.Runtimes[name]
			assert.Equal(t, kept["runtime_type"], runtime["runtime_type"])
			assert.Assert(t, strings.HasPrefix(m.read(layout.ContainerdConfig), "# Written by Argosy"))
			assert.Assert(t, holds(t, m, checkContainerd))

			// Another bundle, as of an upgrade.
			m.join.Containerd.PauseImage = "registry.k8s.io/pause:3.10"
			apply(t, m, applyContainerd)
			assert.DeepEqual(t, m.section().Containerd.Runtimes[name], kept)
		})
	}
}

func TestAMissingDefaultRuntimeIsNotKept(t *testing.T) {
	m := newMachine(t).withBundle()
	m.socket()
	m.write(layout.ContainerdConfig, "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\n"+
		"default_runtime_name = 'nvidia'\n")
	apply(t, m, applyContainerd)
	assert.Equal(t, m.section().Containerd.Default, "runc")
}

func TestRuntimesAreNamedBeforeAnythingIsTouched(t *testing.T) {
	m := newMachine(t)
	m.write(layout.ContainerdConfig, nvidiaV2)
	m.write("/etc/containerd/conf.d/99-nvidia.toml", strings.ReplaceAll(nvidiaV2, `"nvidia"`, `"runc"`))
	m.write("/etc/containerd/conf.d/broken.toml", "[")
	m.write("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: x\n")
	found := findings{}
	checkOtherRuntimes(t.Context(), m.host, m.join, &found)
	assert.DeepEqual(t, found.remarks, []string{
		"/etc/containerd/config.toml has the runtimes nvidia, and nvidia is the default, which stay.",
		"/etc/containerd/conf.d/99-nvidia.toml has the runtimes nvidia, which stay.",
		"The machine's NVIDIA driver has 1 GPUs.",
	})
}
