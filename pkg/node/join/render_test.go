package join

import (
	"context"
	"encoding/json"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"argosy.dev/argosy/pkg/node/spec"
)

func wanted() *spec.Join {
	return &spec.Join{
		KubernetesVersion: "v1.34.4", NodeName: "m1", Server: "https://192.0.2.1:6443", CACert: "-----CA-----\n",
		BinariesPath: "/opt/argosy/bin", CNIBinariesPath: "/opt/cni/bin", Containerd: spec.Containerd{CgroupDriver: "systemd"},
		Registration: spec.Registration{
			KubeletExtraArgs:      []spec.Arg{{Name: "v", Value: "2"}, {Name: "v", Value: "4"}, {Name: "node-labels", Value: `a="b" $(c)`}},
			Taints:                []spec.Taint{{Key: "gpu", Value: "yes", Effect: "NoSchedule"}},
			IgnorePreflightErrors: []string{"Swap"}, ImagePullPolicy: "IfNotPresent", SkipPhases: []string{"preflight"},
		},
	}
}

func TestContainerdIsConfiguredInTheFormOfItsVersion(t *testing.T) {
	for version, file := range map[string]string{"v2.2.9": "containerd-2.2.toml", "v2.0.5": "containerd-2.0.toml", "v1.7.27": "containerd-1.7.toml"} {
		got, err := renderContainerd(wanted(), version, "registry.k8s.io/pause:3.10")
		assert.NilError(t, err)
		golden.Assert(t, string(got), file)
	}
}

func TestUnitsAreRendered(t *testing.T) {
	golden.Assert(t, string(renderContainerdUnit(wanted())), "containerd.service")
	golden.Assert(t, string(renderKubeletUnit(wanted())), "kubelet.service")
	golden.Assert(t, string(renderKubeletDropIn(wanted())), "10-kubeadm.conf")
}

func TestKubeadmIsConfiguredInTheFormOfItsVersion(t *testing.T) {
	for version, file := range map[string]string{"v1.34.4": "join-v1beta4.json", "v1.30.14": "join-v1beta3.json"} {
		j := wanted()
		j.KubernetesVersion = version
		got, err := json.MarshalIndent(renderJoin(j, "/discovery.json", testToken), "", "  ")
		assert.NilError(t, err)
		golden.Assert(t, string(got)+"\n", file)
	}
	got, err := json.MarshalIndent(renderDiscovery(wanted(), testToken), "", "  ")
	assert.NilError(t, err)
	golden.Assert(t, string(got)+"\n", "discovery.json")
}

func TestWithoutTaintsKubeadmIsToldSo(t *testing.T) {
	got, err := json.Marshal(renderJoin(&spec.Join{KubernetesVersion: "v1.34.4"}, "/d", testToken)["nodeRegistration"])
	assert.NilError(t, err)
	assert.Equal(t, string(got), `{"criSocket":"unix:///run/containerd/containerd.sock","name":"","taints":[]}`)
}

func TestTheKernelsSettingsAreRendered(t *testing.T) {
	m := newMachine(t)
	golden.Assert(t, string(renderSysctls()), "90-argosy.conf")
	assert.Equal(t, string(renderModules(m.host)), "# Written by Argosy: kernel modules of a Kubernetes node.\n", "a kernel without modules is told of none")
	m.write("/lib/modules/6.1.0-test/modules.dep", "")
	golden.Assert(t, string(renderModules(m.host)), "modules.conf")
}

func TestThePhasesAreInTheirOrder(t *testing.T) {
	var names []string
	for _, phase := range Phases() {
		assert.Assert(t, phase.Short != "" && phase.Check != nil && phase.Apply != nil, phase.Name)
		names = append(names, phase.Name)
	}
	assert.DeepEqual(t, names, []string{"preflight", "bundle", "kernel", "binaries", "containerd", "images", "kubelet", "kubeadm", "settings", "healthy"})
}

func TestACleanMachineWantsEveryPhaseButPreflight(t *testing.T) {
	m := newMachine(t)
	for _, phase := range Phases()[1:] {
		holds, detail, err := phase.Check(context.Background(), m.context)
		assert.NilError(t, err, phase.Name)
		assert.Assert(t, !holds, phase.Name)
		assert.Assert(t, detail != "", phase.Name)
	}
	assert.Equal(t, len(m.programs.calls), 0, "checks of a clean machine start nothing")
}
