//go:build full

package e2e_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// setUpOwnRuntime sets up a containerd in folders of its own, as the image of a site could have it. Its programs are
// those of a bundle, which a join leaves on the machine.
const setUpOwnRuntime = `set -e
mkdir -p /opt/own/bin /etc/own /var/lib/containerd/own
for program in containerd containerd-shim-runc-v2 ctr runc; do cp /usr/local/bin/$program /opt/own/bin/; done
cp /usr/local/bin/.argosy/*/release/pause-image.tar /opt/own/
mkdir -p /opt/own/cni && cp /opt/cni/bin/* /opt/own/cni/
cat > /etc/own/config.toml <<END
version = 3
root = "/var/lib/containerd/own"
state = "/run/own/state"
[grpc]
address = "/run/own/containerd.sock"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/opt/own/cni"]
conf_dir = "/etc/cni/net.d"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "/opt/own/bin/runc"
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "registry.k8s.io/pause:3.10.2"
END
cat > /etc/systemd/system/own-runtime.service <<END
[Service]
Type=notify
Environment=PATH=/opt/own/bin:/usr/sbin:/usr/bin
ExecStart=/opt/own/bin/containerd --config /etc/own/config.toml
KillMode=process
Delegate=yes
END
`

func TestExistingRuntimeIsUsedUnchanged(t *testing.T) {
	shows(t, joinNode+"containerd.enabled", registration+"criSocket")
	const machine, socket = "m5", "unix:///run/own/containerd.sock"
	resetMachines(t, machine)
	mustSucceed(t, teamA(), "join", "machines="+machine)
	runOn(t, machine, "sh", "-c", setUpOwnRuntime)
	_, err := resetByHand(t, machine, "--yes")
	assert.NilError(t, err)
	configure(t, site.Overrides{
		VCluster: vcluster(map[string]any{joinNode + "containerd.enabled": false, registration + "criSocket": socket}),
		Limits:   map[string]any{"retryBudget": "2s"},
	})
	refuses := func(t *testing.T, want string) {
		t.Helper()
		w := mustFail(t, teamA(), "join", "machines="+machine)
		message := step(t, w, machine).Message
		assertContains(t, message, want)
		assertUntouched(t, machine)
	}
	t.Run("it does not answer", func(t *testing.T) { refuses(t, "/run/own/containerd.sock") })
	t.Run("its cgroup driver differs", func(t *testing.T) {
		runOn(t, machine, "sh", "-c", "sed -i 's/SystemdCgroup = false/SystemdCgroup = true/' /etc/own/config.toml && "+
			"systemctl start own-runtime")
		w := mustFail(t, teamA(), "join", "machines="+machine)
		message := step(t, w, machine).Message
		assertContains(t, message, "cgroup driver")
		runOn(t, machine, "test", "!", "-e", "/usr/local/bin/kubelet")
	})
	runOn(t, machine, "sh", "-c", "sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' /etc/own/config.toml && "+
		"systemctl restart own-runtime")
	runOn(t, machine, "/opt/own/bin/ctr", "--address", "/run/own/containerd.sock", "--namespace", "k8s.io", "images",
		"import", "/opt/own/pause-image.tar")
	before := runOn(t, machine, "sh", "-c", "pgrep -x containerd; find /etc/own /opt/own "+
		"/etc/systemd/system/own-runtime.service -printf '%p %s %T@\\n'")

	mustSucceed(t, teamA(), "join", "machines="+machine)
	assert.Assert(t, isReady(readNode(t, machine)))
	runPodOn(t, machine)
	assert.Equal(t, runOn(t, machine, "sh", "-c", "pgrep -x containerd; find /etc/own /opt/own "+
		"/etc/systemd/system/own-runtime.service -printf '%p %s %T@\\n'"), before)
	runOn(t, machine, "sh", "-c", "test ! -e /usr/local/bin/containerd && test ! -e /usr/local/bin/runc && test ! -e "+
		"/etc/containerd/config.toml && test ! -e /etc/systemd/system/containerd.service")
	assert.Assert(t, strings.Contains(runOn(t, machine, "/opt/own/bin/ctr", "--address", "/run/own/containerd.sock",
		"--namespace", "k8s.io", "containers", "list"), "pause"), "the pods run in it")

	_, err = resetByHand(t, machine, "--yes")
	assert.NilError(t, err)
	assert.Equal(t, strings.Fields(runOn(t, machine, "pgrep", "-x", "containerd"))[0], strings.Fields(before)[0],
		"the reset left it alone")
}

// setUpDebianContainerd gives the containerd of Debian's package, whose own configuration is not for a kubelet, one
// that is, and the pause image of the bundle at $0. Its unit sets an out-of-memory score, which the lab's machines
// refuse.
const setUpDebianContainerd = `set -e
mkdir -p /etc/containerd /etc/systemd/system/containerd.service.d
printf '[Service]\nOOMScoreAdjust=0\n' > /etc/systemd/system/containerd.service.d/lab.conf
cat > /etc/containerd/config.toml <<END
version = 2
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "registry.k8s.io/pause:3.10.2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d"
END
systemctl daemon-reload
systemctl restart containerd.service
curl --silent --fail "$0" | tar -xzC /root --wildcards '*/pause-image.tar'
ctr --namespace k8s.io images import /root/release/pause-image.tar`

// TestDebianContainerdRunsNodes has two machines with the containerd of Debian's own package, from bookworm and from
// trixie. The older one is refused, although this kubelet takes it.
func TestDebianContainerdRunsNodes(t *testing.T) {
	shows(t, joinNode+"containerd.enabled", registration+"ignorePreflightErrors")
	resetMachines(t, "m2", "m5")
	external := func(ignored ...string) site.Overrides {
		return site.Overrides{VCluster: vcluster(map[string]any{
			joinNode + "containerd.enabled":        false,
			registration + "ignorePreflightErrors": site.IgnoredChecks(ignored...),
		})}
	}
	bundle := lab.RepositoryURL + "/" + site.Version + "/" + bundleName
	for machine, name := range map[string]string{"m2": "containerd", "m5": "containerd/trixie"} {
		assert.NilError(t, env.Lab.InstallDebian(t.Context(), machine, name))
		runOn(t, machine, "sh", "-c", setUpDebianContainerd, bundle)
	}
	configure(t, external())
	plan, err := env.Argosy(t.Context(), "plan", "--namespace", site.TeamA, "--machines", "m2,m5")
	assert.Assert(t, err != nil, plan)
	assertContains(t, plan, "The container runtime containerd 1.7.",
		"lacks the call RuntimeConfig, which kubelets need from 1.38 on")
	w := mustFail(t, teamA(), "join", "machines=m2,m5")
	assertContains(t, step(t, w, "m2").Message, "The machine's containerd is 1.6.",
		"1.7 or later is needed; upgrade it.")
	runOn(t, "m2", "test", "!", "-e", "/usr/local/bin/kubelet")

	configure(t, external("CRI"))
	mustSucceed(t, teamA(), "join", "machines=m2,m5")
	assertJoined(t, "m2", "m5")
	for machine, version := range map[string]string{"m2": "containerd://1.6.", "m5": "containerd://1.7."} {
		assertContains(t, readNode(t, machine).Status.NodeInfo.ContainerRuntimeVersion, version)
		runPodOn(t, machine)
		assertContains(t, runOn(t, machine, "journalctl", "--unit=kubelet.service", "--no-pager"),
			"Falling back to using cgroupDriver from kubelet config")
		_, err := resetByHand(t, machine, "--yes")
		assert.NilError(t, err)
		assertContains(t, runOn(t, machine, "systemctl", "is-active", "containerd.service"), "active")
	}
}
