package e2e_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// inventory lists what a machine consists of: its files with modes and sizes, mounts, links, chains of the packet
// filter, control groups of pods, and units. What grows by itself is left out, and so is what tells how an operation
// ended.
const inventory = `
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/log/journal -o -path /var/lib/systemd -o -path /var/lib/argosy -o -path /var/lib/containerd -o -path /var/lib/kubelet \) -prune -o \
  \( -path '/var/log/*' -type f -o -name 'argosy-node-*' \) -prune -o -type d -printf '%y %m %p\n' -o -printf '%y %m %s %p %l\n'
for dir in /run /var/lib/kubelet /var/lib/containerd; do
  find $dir -xdev \( -path /run/log -o -path /run/systemd -o -path /run/udev -o -path /run/user -o -name xtables.lock -o -name utmp -o -name motd.dynamic \) -prune -o -printf '%y %p\n'
done
awk '{print "mount", $5}' /proc/self/mountinfo
ls -d /sys/class/net/* /sys/fs/cgroup/*/kube* /sys/fs/cgroup/kube* 2>/dev/null
for save in iptables-nft-save iptables-legacy-save ip6tables-nft-save ip6tables-legacy-save; do $save | grep -E 'KUBE|CNI-|FLANNEL'; done
systemctl list-unit-files --no-legend 'kube*' 'containerd*'
`

func inventoryOf(t *testing.T, machine string) string {
	t.Helper()
	out, err := env.Lab.Exec(t.Context(), machine, "sh", "-c", "("+inventory+") | sort -u")
	assert.NilError(t, err)
	return out
}

// reset calls the command by hand, as it is documented.
func reset(t *testing.T, machine string, more ...string) (string, error) {
	t.Helper()
	return env.Argosy(t.Context(), append([]string{"reset", "--namespace", site.Namespace, "--cluster", site.Cluster,
		"--machines", machine}, more...)...)
}

func TestAMachineThatLeavesIsAsItWasAndJoinsAgain(t *testing.T) {
	const machine = "m5"
	clean(t, machine)
	before := inventoryOf(t, machine)
	for range 2 {
		_, err := env.Argosy(t.Context(), "join", "--namespace", site.Namespace, "--cluster", site.Cluster,
			"--machines", machine)
		assert.NilError(t, err)
		assertJoined(t, machine)
		podRuns(t, machine)

		out, err := reset(t, machine)
		assert.ErrorContains(t, err, "say --yes")
		assert.Assert(t, strings.Contains(out, "the machine is node m5 of cluster team-a"), out)
		assertJoined(t, machine)

		out, err = reset(t, machine, "--yes")
		assert.NilError(t, err)
		assert.Assert(t, strings.Contains(out, "no process, port, mount, link, rule, credential or file of a node is "+
			"left"), out)
		assert.Assert(t, strings.Contains(out, "the site's own /etc/cni/net.d/10-lab.conflist stays"), out)
		assert.DeepEqual(t, strings.Split(inventoryOf(t, machine), "\n"), strings.Split(before, "\n"))
		nodes, err := env.TeamKubectl(t.Context(), "get", "nodes", "-o", "name")
		assert.NilError(t, err)
		assert.Assert(t, !strings.Contains(nodes, machine), nodes)

		out, err = reset(t, machine, "--yes")
		assert.NilError(t, err)
		assert.Assert(t, strings.Contains(out, "machine m5 was clean already"), out)
	}
}

// podRuns has a pod run on the machine that uses a port of it, and memory and a folder mounted from it.
func podRuns(t *testing.T, machine string) {
	t.Helper()
	const name = "stays-until-the-end"
	overrides := `{"spec": {"nodeName": "` + machine + `",
		"volumes": [{"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "disk", "emptyDir": {}}],
		"containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10.1", "ports": [{"containerPort": 80, "hostPort": 8088}],
			"volumeMounts": [{"name": "memory", "mountPath": "/memory"}, {"name": "disk", "mountPath": "/disk", "subPath": "below"}]}]}}`
	_, err := env.TeamKubectl(t.Context(), "delete", "pod", name, "--ignore-not-found", "--force", "--grace-period=0")
	assert.NilError(t, err)
	_, err = env.TeamKubectl(t.Context(), "run", name, "--image=registry.k8s.io/pause:3.10.1", "--restart=Never",
		"--overrides="+overrides)
	assert.NilError(t, err)
	_, err = env.TeamKubectl(t.Context(), "wait", "--for=condition=Ready", "pod/"+name, "--timeout="+patience.String())
	assert.NilError(t, err)
}

func TestAMachineOfAnotherClusterIsNotResetUnlessThatOneIsGone(t *testing.T) {
	const machine = "m5"
	clean(t, machine)
	_, err := env.Argosy(t.Context(), "join", "--namespace", site.Namespace, "--cluster", site.Cluster, "--machines",
		machine)
	assert.NilError(t, err)
	on(t, machine, "sed", "-i", `s/"clusterUID":"[^"]*"/"clusterUID":"of-another-cluster"/`,
		"/var/lib/argosy/node.json")

	out, err := reset(t, machine, "--yes")
	assert.ErrorContains(t, err, "can't be reset as it is")
	assert.Assert(t, strings.Contains(out, "with the UID of-another-cluster"), out)
	assert.Assert(t, isReady(readNode(t, machine)))

	out, err = reset(t, machine, "--yes", "--cluster-gone")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "machine m5 is clean"), out)
	_, err = env.TeamKubectl(t.Context(), "delete", "node", machine)
	assert.NilError(t, err)
}
