package join

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"

	"argosy.dev/argosy/pkg/node/spec"
)

func wanted() *spec.Join {
	return &spec.Join{
		KubernetesVersion: "v1.34.4", NodeName: "m1", Server: "https://192.0.2.1:6443", CACert: "-----CA-----\n",
		BinariesPath: "/opt/argosy/bin", CNIBinariesPath: "/opt/cni/bin",
		Containerd: spec.Containerd{CgroupDriver: "systemd"},
		Registration: spec.Registration{
			KubeletExtraArgs: []spec.Arg{
				{Name: "v", Value: "2"},
				{Name: "v", Value: "4"},
				{Name: "node-labels", Value: `a="b" $(c)`},
			},
			Taints:                []spec.Taint{{Key: "gpu", Value: "yes", Effect: "NoSchedule"}},
			IgnorePreflightErrors: []string{"Swap"}, ImagePullPolicy: "IfNotPresent", SkipPhases: []string{"preflight"},
		},
	}
}

func TestContainerdIsConfiguredInTheFormOfItsVersion(t *testing.T) {
	for version, name := range map[string]string{
		"v2.3.7": "containerd-2.3", "v2.2.9": "containerd-2.2", "v2.0.5": "containerd-2.0",
		"v1.7.27": "containerd-1.7",
	} {
		settings := containerdSettings{join: wanted(), version: version, pause: "registry.k8s.io/pause:3.10"}
		got, err := settings.render()
		assert.NilError(t, err)
		golden.Assert(t, string(got), name+".toml")

		settings.join.Containerd.Registry.ConfigPath = "/opt/registries"
		settings.logins = map[string]spec.RegistryLogin{
			"docker.io":                 {Username: "user", Password: `pass"word\`},
			"registry.example.com:5000": {Auth: "dXNlcjpwYXNz"},
			"gcr.io":                    {IdentityToken: "token"},
		}
		got, err = settings.render()
		assert.NilError(t, err)
		golden.Assert(t, string(got), name+"-registries.toml")
		got, err = settings.renderLogins()
		assert.NilError(t, err)
		golden.Assert(t, string(got), name+"-logins.toml")
	}
}

func TestUnitsAreRendered(t *testing.T) {
	golden.Assert(t, string(renderContainerdUnit(wanted())), "containerd.service")
	golden.Assert(t, string(renderKubeletUnit(wanted())), "kubelet.service")
	golden.Assert(t, string(renderKubeletDropIn(wanted())), "10-kubeadm.conf")
}

func TestKubeadmIsConfiguredAsEverySupportedVersionReadsIt(t *testing.T) {
	for _, version := range []string{"v1.33.13", "v1.34.4", "v1.35.8", "v1.36.5", "v1.37.2"} {
		j := wanted()
		j.KubernetesVersion = version
		assert.DeepEqual(t, versionProblems(j), []string(nil))
		got, err := json.MarshalIndent(renderJoin(j, "/discovery.json", testToken), "", "  ")
		assert.NilError(t, err)
		golden.Assert(t, string(got)+"\n", "join-v1beta4.json")
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
	golden.Assert(t, string(renderSysctls(&spec.Join{})), "90-argosy.conf")
	assert.Equal(t, string(renderModules(m.host)), "# Written by Argosy: kernel modules of a Kubernetes node.\n",
		"a kernel without modules is told of none")
	m.write("/lib/modules/6.1.0-test/modules.dep", "")
	golden.Assert(t, string(renderModules(m.host)), "modules.conf")
}

func TestThePhasesAreInTheirOrder(t *testing.T) {
	var names []string
	for _, phase := range Phases() {
		assert.Assert(t, phase.Short != "" && phase.Check != nil && phase.Apply != nil, phase.Name)
		names = append(names, phase.Name)
	}
	assert.DeepEqual(t, names, []string{
		"preflight", "pre-install", "bundle", "kernel", "binaries", "registries", "containerd", "images", "kubelet",
		"pre-join",
		"kubeadm", "settings", "healthy", "post-join",
	})
}

func TestACleanMachineWantsEveryPhaseButPreflight(t *testing.T) {
	m := newMachine(t)
	m.join.Hooks = spec.Hooks{PreInstall: []string{"a"}, PreJoin: []string{"b"}, PostJoin: []string{"c"}}
	m.join.Containerd.Registry.Mirrors = map[string]spec.Mirror{"docker.io": {}}
	for _, phase := range Phases()[1:] {
		holds, detail, err := phase.Check(context.Background(), m.context)
		assert.NilError(t, err, phase.Name)
		assert.Assert(t, !holds, phase.Name)
		assert.Assert(t, detail != "", phase.Name)
	}
	assert.Equal(t, len(m.programs.calls), 0, "checks of a clean machine start nothing")
}

func TestVersionsWhoseKubeadmReadsAnotherFormAreRefused(t *testing.T) {
	j := wanted()
	for version, want := range map[string]int{"v1.30.14": 1, "v1.31.0": 0, "v1.37.2": 0} {
		j.KubernetesVersion = version
		problems := versionProblems(j)
		assert.Equal(t, len(problems), want, "%s: %v", version, problems)
	}
	j.KubernetesVersion = "v1.30.14"
	assert.DeepEqual(t, versionProblems(j), []string{
		"Kubernetes v1.30.14 is older than 1.31, the first whose kubeadm reads the configuration that Argosy writes; " +
			"upgrade the cluster first.",
	})
}

func TestFlagsThatTheKubeletDroppedAreRefused(t *testing.T) {
	for name, refused := range map[string]bool{
		"containerd": true, "storage-driver-db": true, "storage_driver_db": true, "containerd-namespace": true,
		"housekeeping-interval": false, "container-runtime-endpoint": false, "v": false,
	} {
		j := wanted()
		j.Registration.KubeletExtraArgs = []spec.Arg{{Name: name, Value: "1"}}
		j.KubernetesVersion = "v1.36.5"
		assert.DeepEqual(t, versionProblems(j), []string(nil))
		j.KubernetesVersion = "v1.37.2"
		problems := strings.Join(versionProblems(j), " ")
		assert.Equal(t, problems != "", refused, "%s: %s", name, problems)
		if refused {
			assert.Assert(t, strings.Contains(problems, "remove it from kubeletExtraArgs"), problems)
		}
	}
}
