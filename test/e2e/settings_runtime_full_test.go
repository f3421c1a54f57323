//go:build full

package e2e_test

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// ownRuntime sets up a containerd as a site's own image would have it, in folders and under a name of its own. It takes
// the programs of a bundle, which a join leaves on the machine.
const ownRuntime = `set -e
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
sandbox = "registry.k8s.io/pause:3.10.1"
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

func TestARuntimeThatIsThereIsUsedAndNeverTouched(t *testing.T) {
	shows(t, joinNode+"containerd.enabled", registration+"criSocket")
	const machine, socket = "m5", "unix:///run/own/containerd.sock"
	clean(t, machine)
	joins(t, machine)
	on(t, machine, "sh", "-c", ownRuntime)
	_, err := reset(t, machine, "--yes")
	assert.NilError(t, err)
	configure(t, site.Fleet{
		VCluster: vcluster(map[string]any{joinNode + "containerd.enabled": false, registration + "criSocket": socket}),
		Limits:   map[string]any{"retryBudget": "2s"},
	})
	refuses := func(t *testing.T, says string) {
		t.Helper()
		w := finished(t, submit(t, "machines="+machine))
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
		message := stepOf(t, w, machine).Message
		assert.Assert(t, strings.Contains(message, says), message)
		assertUntouched(t, machine)
	}
	t.Run("none answers", func(t *testing.T) { refuses(t, "/run/own/containerd.sock") })
	t.Run("its control groups are another driver's", func(t *testing.T) {
		on(t, machine, "sh", "-c", "sed -i 's/SystemdCgroup = false/SystemdCgroup = true/' /etc/own/config.toml && "+
			"systemctl start own-runtime")
		w := finished(t, submit(t, "machines="+machine))
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
		message := stepOf(t, w, machine).Message
		assert.Assert(t, strings.Contains(message, "cgroup driver"), message)
		on(t, machine, "test", "!", "-e", "/usr/local/bin/kubelet")
	})
	on(t, machine, "sh", "-c", "sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' /etc/own/config.toml && "+
		"systemctl restart own-runtime")
	on(t, machine, "/opt/own/bin/ctr", "--address", "/run/own/containerd.sock", "--namespace", "k8s.io", "images",
		"import", "/opt/own/pause-image.tar")
	before := on(t, machine, "sh", "-c", "pgrep -x containerd; find /etc/own /opt/own "+
		"/etc/systemd/system/own-runtime.service -printf '%p %s %T@\\n'")

	joins(t, machine)
	assert.Assert(t, isReady(readNode(t, machine)))
	podRuns(t, machine)
	assert.Equal(t, on(t, machine, "sh", "-c", "pgrep -x containerd; find /etc/own /opt/own "+
		"/etc/systemd/system/own-runtime.service -printf '%p %s %T@\\n'"), before)
	on(t, machine, "sh", "-c", "test ! -e /usr/local/bin/containerd && test ! -e /usr/local/bin/runc && test ! -e "+
		"/etc/containerd/config.toml && test ! -e /etc/systemd/system/containerd.service")
	assert.Assert(t, strings.Contains(on(t, machine, "/opt/own/bin/ctr", "--address", "/run/own/containerd.sock",
		"--namespace", "k8s.io", "containers", "list"), "pause"), "the pods run in it")

	_, err = reset(t, machine, "--yes")
	assert.NilError(t, err)
	assert.Equal(t, strings.Fields(on(t, machine, "pgrep", "-x", "containerd"))[0], strings.Fields(before)[0],
		"the reset left it alone")
}
