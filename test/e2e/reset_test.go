package e2e_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// inventory lists the files of a machine with modes and sizes, its mounts, links, chains of the packet filter, control
// groups of pods, and units. It leaves out files that grow by themselves and the results of operations.
const inventory = `
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /var/log/journal \
  -o -path /var/lib/systemd -o -path /var/lib/argosy -o -path /var/lib/containerd -o -path /var/lib/kubelet \) \
  -prune -o \
  \( -path '/var/log/*' -type f -o -name 'argosy-node-*' \) -prune -o -type d -printf '%y %m %p\n' -o -printf '%y %m %s %p %l\n'
for dir in /run /var/lib/kubelet /var/lib/containerd; do
  find $dir -xdev \( -path /run/log -o -path /run/systemd -o -path /run/udev -o -path /run/user -o -name xtables.lock \
    -o -name utmp -o -name motd.dynamic \) -prune -o -printf '%y %p\n'
done
awk '{print "mount", $5}' /proc/self/mountinfo
ls -d /sys/class/net/* /sys/fs/cgroup/*/kube* /sys/fs/cgroup/kube* 2>/dev/null
for save in iptables-nft-save iptables-legacy-save ip6tables-nft-save ip6tables-legacy-save; do
  $save | grep -E 'KUBE|CNI-|FLANNEL'
done
systemctl list-unit-files --no-legend 'kube*' 'containerd*'
`

func inventoryOf(t *testing.T, machine string) string {
	t.Helper()
	out := runOn(t, machine, "sh", "-c", "("+inventory+") | sort -u")
	return out
}

// resetByHand runs the documented command.
func resetByHand(t *testing.T, machine string, more ...string) (string, error) {
	t.Helper()
	return env.Argosy(t.Context(), append([]string{
		"reset", "--namespace", site.TeamA, "--cluster", site.TeamA,
		"--machines", machine,
	}, more...)...)
}

func TestResetMachineIsCleanAndJoinsAgain(t *testing.T) {
	const machine = "m5"
	resetMachines(t, machine)
	before := inventoryOf(t, machine)
	for range 2 {
		joinByHand(t, machine)
		assertJoined(t, machine)
		runPodOn(t, machine)

		out, err := resetByHand(t, machine)
		assert.ErrorContains(t, err, "add --yes")
		assertContains(t, out, "the machine is node m5 of cluster team-a")
		assertJoined(t, machine)

		out, err = resetByHand(t, machine, "--yes")
		assert.NilError(t, err)
		assertContains(t, out, "no process, port, mount, link, rule, credential or file of a node is "+
			"left")
		assertContains(t, out, "the site's own /etc/cni/net.d/10-lab.conflist stays")
		assert.DeepEqual(t, strings.Split(inventoryOf(t, machine), "\n"), strings.Split(before, "\n"))
		nodes := kubectl(t, teamA(), "get", "nodes", "-o", "name")
		assert.Assert(t, !strings.Contains(nodes, machine), nodes)

		out, err = resetByHand(t, machine, "--yes")
		assert.NilError(t, err)
		assertContains(t, out, "machine m5 was clean already")
	}
}

// runPodOn runs a pod on the machine that uses a host port, and mounts memory and a folder.
func runPodOn(t *testing.T, machine string) {
	t.Helper()
	const name = "runs-until-reset"
	overrides := `{"spec": {"nodeName": "` + machine + `",
		"volumes": [{"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "disk", "emptyDir": {}}],
		"containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10.2",
			"ports": [{"containerPort": 80, "hostPort": 8088}],
			"volumeMounts": [{"name": "memory", "mountPath": "/memory"}, {"name": "disk", "mountPath": "/disk", "subPath": "below"}]}]}}`
	kubectl(t, teamA(), "delete", "pod", name, "--ignore-not-found", "--force", "--grace-period=0")
	kubectl(t, teamA(), "run", name, "--image=registry.k8s.io/pause:3.10.2", "--restart=Never",
		"--overrides="+overrides)
	kubectl(t, teamA(), "wait", "--for=condition=Ready", "pod/"+name, "--timeout="+patience.String())
}

func TestResetRefusesMachineOfAnotherCluster(t *testing.T) {
	const machine = "m5"
	resetMachines(t, machine)
	joinByHand(t, machine)
	runOn(t, machine, "sed", "-i", `s/"clusterUID":"[^"]*"/"clusterUID":"of-another-cluster"/`,
		"/var/lib/argosy/node.json")

	out, err := resetByHand(t, machine, "--yes")
	assert.ErrorContains(t, err, "can't be reset as it is")
	assertContains(t, out, "with the UID of-another-cluster")
	assert.Assert(t, isReady(readNode(t, machine)))

	out, err = resetByHand(t, machine, "--yes", "--cluster-gone")
	assert.NilError(t, err)
	assertContains(t, out, "machine m5 is clean")
	kubectl(t, teamA(), "delete", "node", machine)
}
