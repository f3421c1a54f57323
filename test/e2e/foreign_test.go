package e2e_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// Machines with software of another owner: a node of another distribution, and a containerd that Docker uses.

// simulateK3s makes the unit, folders, links, rules and control groups of a k3s agent with one pod. Its programs are
// copies of sleep.
const simulateK3s = `set -e
install /bin/sleep /usr/local/bin/k3s
install /bin/sleep /usr/local/bin/of-a-pod
mkdir -p /etc/rancher/k3s /var/lib/rancher/k3s/agent /etc/kubernetes /var/lib/cni/networks/cbr0
mkdir -p /var/lib/kubelet/pods/4711/volumes/kubernetes.io~empty-dir/data
echo "server: https://k3s.example:6443" > /etc/rancher/k3s/config.yaml
echo '{"cloud": "theirs"}' > /etc/kubernetes/azure.json
echo "their data" > /var/lib/kubelet/pods/4711/volumes/kubernetes.io~empty-dir/data/file
echo 4711 > /var/lib/cni/networks/cbr0/10.42.0.2
cat > /etc/systemd/system/k3s-agent.service <<END
[Unit]
Description=Lightweight Kubernetes
[Service]
ExecStart=/usr/local/bin/k3s infinity
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --quiet --now k3s-agent.service
ip link add cni0 type bridge
iptables -t nat -N KUBE-SERVICES
iptables -t nat -A OUTPUT -j KUBE-SERVICES
/usr/local/bin/of-a-pod infinity </dev/null >/dev/null 2>&1 &
for tree in /sys/fs/cgroup/memory /sys/fs/cgroup/pids /sys/fs/cgroup; do
  [ -e "$tree/cgroup.procs" ] || continue
  mkdir -p "$tree/kubepods/besteffort/pod4711"
  echo $! > "$tree/kubepods/besteffort/pod4711/cgroup.procs"
done
`

func TestNodeOfAnotherDistributionIsRefused(t *testing.T) {
	const machine = "m4"
	resetMachines(t, machine)
	runOn(t, machine, "sh", "-c", simulateK3s)
	before, pids := inventoryOf(t, machine), runOn(t, machine, "pgrep", "-x", "k3s|of-a-pod")

	assertContains(t, mustRefuseJoin(t, machine), "k3s")

	w := mustFail(t, teamA(), "reset", "machines="+machine)
	message := step(t, w, machine).Message
	for _, part := range []string{"k3s", "nothing on it was touched"} {
		assertContains(t, message, part)
	}

	assert.DeepEqual(t, strings.Split(inventoryOf(t, machine), "\n"), strings.Split(before, "\n"))
	assert.Equal(t, runOn(t, machine, "pgrep", "-x", "k3s|of-a-pod"), pids, "their processes live")
	const data = "/var/lib/kubelet/pods/4711/volumes/kubernetes.io~empty-dir/data/file"
	assert.Equal(t, runOn(t, machine, "cat", data), "their data\n")
}

// runDocker sets up Docker and a containerd that serves Kubernetes beside it, and starts a container of the owner's.
// Debian 12's containerd is too old for Kubernetes: the one of the bundle at $0 replaces it, as a newer package would.
// Debian's units set an out-of-memory score, which the lab's machines refuse.
const runDocker = `set -e
curl --silent --fail "$0" | tar -xzC /root
install /root/release/containerd /root/release/containerd-shim-runc-v2 /root/release/ctr /usr/bin/
install /root/release/runc /usr/sbin/
mkdir -p /etc/containerd /etc/systemd/system/containerd.service.d /etc/systemd/system/docker.service.d
for unit in containerd docker; do
  printf '[Service]\nOOMScoreAdjust=0\n' > /etc/systemd/system/$unit.service.d/lab.conf
done
cat > /etc/containerd/config.toml <<END
version = 3
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "registry.k8s.io/pause:3.10.2"
END
systemctl daemon-reload
systemctl restart containerd.service docker.service
ctr --namespace k8s.io images import /root/release/pause-image.tar
tar -cC /bin busybox | docker import - owner/busybox:v1
docker run --detach --name owner owner/busybox:v1 /busybox sleep 1000000
`

func TestContainerdUsedByDockerIsNotTakenOver(t *testing.T) {
	const machine = "m5"
	resetMachines(t, machine)
	assert.NilError(t, env.Lab.InstallDebian(t.Context(), machine, "docker.io", "busybox-static"))
	runOn(t, machine, "sh", "-c", runDocker, lab.RepositoryURL+"/"+site.Version+"/"+bundleName)
	state := func() string {
		return runOn(t, machine, "docker", "inspect", "--format={{.State.Pid}} {{.State.StartedAt}}", "owner") +
			runOn(t, machine, "systemctl", "is-active", "docker.service", "containerd.service")
	}
	containerd := func() string {
		return runOn(t, machine, "systemctl", "show", "--property=FragmentPath,ExecMainPID", "containerd.service")
	}
	before, unit := state(), containerd()

	assertContains(t, mustRefuseJoin(t, machine), "ocker", "containerd.enabled")
	assert.Equal(t, state(), before)
	assert.Equal(t, containerd(), unit)

	configure(t, site.Overrides{VCluster: vcluster(map[string]any{
		joinNode + "containerd.enabled": false, registration + "criSocket": "unix:///run/containerd/containerd.sock",
	})})
	joinByHand(t, machine)
	assert.Assert(t, isReady(readNode(t, machine)))
	runPodOn(t, machine)
	assert.Equal(t, state(), before)

	_, err := resetByHand(t, machine, "--yes")
	assert.NilError(t, err)
	assert.Equal(t, state(), before)
	assertContains(t, runOn(t, machine, "docker", "images"), "owner/busybox")
}
