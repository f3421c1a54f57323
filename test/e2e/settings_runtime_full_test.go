//go:build full

package e2e_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

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
