//go:build vm

package e2e_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// Tests on virtual machines: kernels of their own, cgroup version 2, systemd as the driver of cgroups, and documents
// without any of the lab's settings. Run them with `make e2e-vm`.

// patience bounds a wait as it does without virtual machines, and allows for emulated ones.
const patience = lab.EmulationSlowdown * 8 * time.Minute

// bringUp brings up the parts of the lab that hosted clusters need.
func bringUp(ctx context.Context) error {
	if err := env.Lab.UpWith(ctx, lab.UpOptions{HostedOnly: true}); err != nil {
		return err
	}
	return env.DeployPlugin(ctx)
}

// newVMCluster provisions a cluster at the older version, with default documents and one virtual machine.
func newVMCluster(t *testing.T, machine string) *site.HostedCluster {
	t.Helper()
	_, err := env.Lab.ControlPlaneImage(t.Context(), lab.OlderVersion)
	assert.NilError(t, err)
	cluster := env.HostedCluster("team-v", machine)
	cluster.VCluster = func(document map[string]any) {
		document["privateNodes"] = map[string]any{"enabled": true}
		delete(document, "deploy")
		site.Set(document, "controlPlane.distro.k8s.image.tag", lab.OlderVersion)
	}
	assert.NilError(t, cluster.Remove(t.Context()))
	assert.NilError(t, env.Lab.Reset(t.Context(), machine))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(console(machine))
		}
		assert.NilError(t, env.Lab.HaltVirtualMachines())
		assert.NilError(t, cluster.Remove(context.Background()))
	})
	assert.NilError(t, cluster.Install(t.Context()))
	mustSucceed(t, cluster, "provision")
	return cluster
}

// console returns the last lines of a machine's journal.
func console(machine string) string {
	out, err := env.Lab.Exec(context.Background(), machine, "journalctl", "--no-pager", "--lines=60")
	if err != nil {
		return err.Error()
	}
	return out
}

func TestVirtualMachineLivesThroughPowerCuts(t *testing.T) {
	for _, m := range env.Lab.VirtualMachines() {
		t.Run(m.Name, func(t *testing.T) {
			cluster := newVMCluster(t, m.Name)
			before := vmInventory(t, m.Name)

			t.Run("swap that is on is refused", func(t *testing.T) { testSwapIsRefused(t, cluster, m.Name) })
			t.Run("a join ends in spite of power cuts", func(t *testing.T) {
				endsInSpiteOfPowerCuts(t, cluster, m.Name, "join", "bundle", "binaries", "kubeadm")
				assertNodeOfVM(t, cluster, m.Name, lab.OlderVersion)
			})
			t.Run("pods keep to their limits", func(t *testing.T) { testPodsKeepToLimits(t, cluster, m.Name) })
			t.Run("pods are reached", func(t *testing.T) { testPodsAreReached(t, cluster, m.Name) })
			t.Run("a reboot brings the node back", func(t *testing.T) {
				assert.NilError(t, machineNamed(t, m.Name).Reboot(t.Context()))
				assertNodeOfVM(t, cluster, m.Name, lab.OlderVersion)
				testPodsAreReached(t, cluster, m.Name)
			})
			t.Run("drift is repaired", func(t *testing.T) { testDriftIsRepaired(t, cluster, m.Name) })
			t.Run("an upgrade ends in spite of a power cut", func(t *testing.T) {
				endsInSpiteOfPowerCuts(t, cluster, m.Name, "upgrade", "binaries", "version="+lab.Version)
				assertNodeOfVM(t, cluster, m.Name, lab.Version)
				testPodsKeepToLimits(t, cluster, m.Name)
			})
			t.Run("a reset ends in spite of a power cut and leaves nothing", func(t *testing.T) {
				endsInSpiteOfPowerCuts(t, cluster, m.Name, "reset", "files")
				// Modules and links of the kernel's own go with the next boot.
				assert.NilError(t, machineNamed(t, m.Name).Reboot(t.Context()))
				assert.DeepEqual(t, strings.Split(vmInventory(t, m.Name), "\n"), strings.Split(before, "\n"))
			})
			t.Run("it joins again and is removed", func(t *testing.T) {
				mustSucceed(t, cluster, "join", "machines="+m.Name)
				assertNodeOfVM(t, cluster, m.Name, lab.Version)
				testPodsKeepToLimits(t, cluster, m.Name)
				mustSucceed(t, cluster, "remove", "machines="+m.Name)
				assert.Equal(t, kubectl(t, cluster, "get", "nodes", "-o", "name"), "")
			})
		})
	}
}

// vmInventory is inventoryOf without the files that a boot changes by itself.
func vmInventory(t *testing.T, machine string) string {
	t.Helper()
	lines := strings.Split(inventoryOf(t, machine), "\n")
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
		return strings.Contains(line, " /run/") || strings.Contains(line, "/var/log/") ||
			strings.Contains(line, "/systemd-private-")
	}), "\n")
}

// endsInSpiteOfPowerCuts submits a workflow for a machine, and cuts the machine's power in each of the phases. The
// workflow, or one retry of it, must succeed. A parameter is told from a phase by its "=".
func endsInSpiteOfPowerCuts(t *testing.T, cluster *site.HostedCluster, machine, template string, more ...string) {
	t.Helper()
	parameters := []string{"machines=" + machine}
	var phases []string
	for _, one := range more {
		if strings.Contains(one, "=") {
			parameters = append(parameters, one)
		} else {
			phases = append(phases, one)
		}
	}
	name := submit(t, cluster, template, parameters...)
	for _, phase := range phases {
		holdInPhase(t, machine, phase)
		assert.NilError(t, machineNamed(t, machine).CutPower(t.Context()))
	}
	w := waitForEnd(t, cluster, name)
	if w.Status.Phase != wfv1.WorkflowSucceeded {
		t.Log(describe(w))
		w = run(t, cluster, template, parameters...)
	}
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
}

// holdInPhase stops the operation's program as soon as it is in the phase, so that the phase lasts until the power is
// cut. The machine looks itself: the lab asks it too seldom for a phase of a second.
func holdInPhase(t *testing.T, machine, phase string) {
	t.Helper()
	runOn(t, machine, "sh", "-c", `until status=$(ls -t /var/lib/argosy/ops/*/status.json 2>/dev/null | head -n 1) &&
		grep -qs '"state": *"running"' "$status" && grep -qs "\"phase\": *\"$1\"" "$status"
	do sleep 0.05; done; systemctl kill --signal=STOP 'argosy-*.service'`, "sh", phase)
}

func testSwapIsRefused(t *testing.T, cluster *site.HostedCluster, machine string) {
	runOn(t, machine, "sh", "-ec", `dd if=/dev/zero of=/swap bs=1M count=64 status=none
		chmod 600 /swap; mkswap -q /swap; swapon /swap`)
	defer runOn(t, machine, "sh", "-ec", "swapoff /swap; rm /swap")
	w := mustFail(t, cluster, "join", "machines="+machine)
	assertContains(t, describe(w), "Swap is on (/swap)")
}

// assertNodeOfVM waits for the node, and checks cgroups, modules and sysctls, which the containers share with this
// computer.
func assertNodeOfVM(t *testing.T, cluster *site.HostedCluster, machine, version string) {
	t.Helper()
	eventuallyReady(t, cluster, machine)
	eventuallyPrints(t, cluster, version, "get", "node", machine, "-o", "jsonpath={.status.nodeInfo.kubeletVersion}")
	assert.Equal(t, printedOn(t, machine, "stat", "--file-system", "--format=%T", "/sys/fs/cgroup"), "cgroup2fs")
	assertContains(t, runOn(t, machine, "cat", "/var/lib/kubelet/config.yaml"), "cgroupDriver: systemd")
	for _, module := range []string{"overlay", "br_netfilter"} {
		runOn(t, machine, "test", "-d", "/sys/module/"+module)
	}
	for _, key := range []string{"net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"} {
		assert.Equal(t, printedOn(t, machine, "sysctl", "-n", key), "1", key)
	}
	assert.Equal(t, printedOn(t, machine, "swapon", "--show"), "")
}

func printedOn(t *testing.T, machine string, argv ...string) string {
	t.Helper()
	return strings.TrimSpace(runOn(t, machine, argv...))
}

// testPodsKeepToLimits runs a pod that wants more processor time than it may have, and one that wants more memory. The
// first one's limits must be those of its control group beneath systemd's slices.
func testPodsKeepToLimits(t *testing.T, cluster *site.HostedCluster, machine string) {
	t.Helper()
	kubectl(t, cluster, "delete", "pod", "busy", "greedy", "--ignore-not-found", "--force", "--grace-period=0")
	apply(t, cluster, limitedPods)
	kubectl(t, cluster, "wait", "--for=condition=Ready", "pod/busy", "--timeout="+patience.String())
	uid := kubectl(t, cluster, "get", "pod", "busy", "-o", "jsonpath={.metadata.uid}")
	group := "/sys/fs/cgroup/kubepods.slice/kubepods-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/"
	assert.Equal(t, printedOn(t, machine, "cat", group+"memory.max"), "67108864")
	assert.Equal(t, printedOn(t, machine, "cat", group+"cpu.max"), "10000 100000")
	var stat string
	eventually(t, "pod busy is throttled", func() bool {
		stat = runOn(t, machine, "cat", group+"cpu.stat")
		return strings.Contains(stat, "nr_throttled") && !strings.Contains(stat, "nr_throttled 0\n")
	}, func() string { return stat })
	eventuallyPrints(t, cluster, "OOMKilled", "get", "pod", "greedy", "-o",
		"jsonpath={.status.containerStatuses[0].state.terminated.reason}")
	kubectl(t, cluster, "delete", "pod", "busy", "greedy", "--force", "--grace-period=0")
}

var limitedPods = `
apiVersion: v1
kind: Pod
metadata: {name: busy}
spec:
  containers:
    - name: busy
      image: ` + lab.RegistryAddress + `/library/busybox:1.36.1
      command: [sh, -c, "while :; do :; done"]
      resources: {limits: {cpu: 100m, memory: 64Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  containers:
    - name: greedy
      image: ` + lab.RegistryAddress + `/library/busybox:1.36.1
      command: [tail, /dev/zero]
      resources: {limits: {cpu: 500m, memory: 32Mi}}
`

// testPodsAreReached asks a Service by its name from a pod, and reads the pod's log.
func testPodsAreReached(t *testing.T, cluster *site.HostedCluster, machine string) {
	t.Helper()
	apply(t, cluster, web)
	kubectl(t, cluster, "rollout", "status", "daemonset/web", "--timeout="+patience.String())
	eventuallyPrints(t, cluster, "web-", "exec", "daemonset/web", "--", "/web", "get", "http://web/")
	assertContains(t, kubectl(t, cluster, "logs", "daemonset/web"), "GET")
	assert.Equal(t, kubectl(t, cluster, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"),
		machine)
}

func testDriftIsRepaired(t *testing.T, cluster *site.HostedCluster, machine string) {
	runOn(t, machine, "sh", "-ec", `echo '# mine' >> /etc/systemd/system/kubelet.service
		sysctl -q -w net.ipv4.ip_forward=0; rm /etc/modules-load.d/argosy.conf`)
	w := mustSucceed(t, cluster, "reconcile", "machines="+machine, "dryRun=true")
	assertContains(t, step(t, w, "plan").Message, "1 of 1 machines differ")
	mustSucceed(t, cluster, "reconcile", "machines="+machine)
	assertNodeOfVM(t, cluster, machine, lab.OlderVersion)
	runOn(t, machine, "test", "-e", "/etc/modules-load.d/argosy.conf")
	w = mustSucceed(t, cluster, "reconcile", "machines="+machine)
	assertContains(t, step(t, w, "plan").Message, "0 of 1 machines differ")
}
