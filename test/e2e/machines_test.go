package e2e_test

import (
	"context"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// Machines as their owners have them: with swap, leftovers of another cluster, files that undo settings, login shells
// that print, runtimes of a GPU toolkit. The lab's machines share this computer's kernel, so that some of it is
// simulated; the name of each script tells.

// simulateSwap shows the machine, and a kubelet on it, swap that the kernel does not have: its /proc/swaps is a file. A
// reset ends it.
const simulateSwap = `set -e
printf 'Filename\tType\tSize\tUsed\tPriority\n/swap.img file 2097148 0 -2\n' > /run/swaps
mount --bind /run/swaps /proc/swaps`

// leaveRemains leaves what remains of a node of another cluster that was reset halfway. The tunnel of flannel's is a
// bridge of that name: only the name is looked at.
const leaveRemains = `set -e
mkdir -p /etc/cni/net.d /run/flannel /var/lib/cni/networks/cbr0 /var/lib/kubelet
echo '{"cniVersion": "1.0.0", "name": "k8s-pod-network", "plugins": [{"type": "calico"}]}' \
  > /etc/cni/net.d/10-calico.conflist
echo FLANNEL_SUBNET=10.42.3.1/24 > /run/flannel/subnet.env
echo 4711 > /var/lib/cni/networks/cbr0/10.42.3.7
echo '{"policyName":"static","defaultCpuSet":"0-3","checksum":1}' > /var/lib/kubelet/cpu_manager_state
ip link add cni0 type bridge
ip link add flannel.1 type bridge`

// undoSettings is the file of a hardening profile that is read after Argosy's, and the configuration of a ufw that is
// on.
const undoSettings = `set -e
echo 'net.ipv4.conf.all.forwarding = 0' > /etc/sysctl.d/99-zz-hardening.conf
mkdir -p /etc/ufw && echo ENABLED=yes > /etc/ufw/ufw.conf`

// simulateStoppedK3s leaves a k3s agent that starts at the next boot. Its program is a copy of sleep.
const simulateStoppedK3s = `set -e
install /bin/sleep /usr/local/bin/k3s
printf '[Service]\nExecStart=/usr/local/bin/k3s infinity\n[Install]\nWantedBy=multi-user.target\n' \
  > /etc/systemd/system/k3s-agent.service
systemctl enable --quiet k3s-agent.service`

// refusesSwap has the kubelet of m1 refuse swap, as kubelets do by default. The cluster team-a lets them start.
func refusesSwap() func(map[string]any) {
	return kubeletArgs("m1", map[string]string{"fail-swap-on": "true"})
}

// kubeletArgs returns a change of a machine's entry in argosy.yaml: the kubelet's arguments.
func kubeletArgs(machine string, values map[string]string) func(map[string]any) {
	var args []any
	for name, value := range values {
		args = append(args, map[string]any{"name": name, "value": value})
	}
	return editMachine(machine, func(entry map[string]any) {
		entry["join"] = map[string]any{"nodeRegistration": map[string]any{"kubeletExtraArgs": args}}
	})
}

// sideBySide runs scripts on several machines at the same time, by machine.
func sideBySide(t *testing.T, scripts map[string]string) {
	t.Helper()
	ended := make(chan error, len(scripts))
	for machine, script := range scripts {
		go func() {
			_, err := env.Lab.Exec(t.Context(), machine, "sh", "-c", script)
			ended <- err
		}()
	}
	for range scripts {
		assert.NilError(t, <-ended)
	}
}

func TestPlanNamesWhatDisturbsANode(t *testing.T) {
	resetMachines(t, "m1", "m2", "m3", "m5")
	sideBySide(t, map[string]string{
		"m1": simulateSwap, "m2": leaveRemains, "m3": undoSettings, "m5": simulateStoppedK3s,
	})
	configure(t, site.Overrides{Machine: refusesSwap()})
	out := mustRefuseJoin(t, "m1,m2,m3,m5")
	for _, part := range []string{
		"Swap is on (/swap.img)", "failSwapOn: false",
		"link cni0, link flannel.1, /run/flannel, /var/lib/kubelet/cpu_manager_state, /var/lib/cni/networks/cbr0",
		"add NodeRemains to ignorePreflightErrors",
		"/etc/sysctl.d/99-zz-hardening.conf sets net.ipv4.ip_forward = 0 at each boot",
		"becomes a node of another Kubernetes at its next boot: k3s (k3s-agent.service)",
	} {
		assertContains(t, out, part)
	}
	for _, machine := range []string{"m1", "m2", "m3", "m5"} {
		assertUntouched(t, machine)
	}

	configure(t, site.Overrides{Machine: refusesSwap(), VCluster: vcluster(map[string]any{
		registration + "ignorePreflightErrors": site.IgnoredChecks("Swap", "NodeRemains", "Sysctl"),
	})})
	plan := argosy(t, "plan", "--namespace", site.TeamA, "--machines", "m1,m2,m3,m5")
	const ignored = " Ignored, as ignorePreflightErrors says."
	assertContains(t, plan, "in the cluster's kubelet configuration."+ignored,
		"add NodeRemains to ignorePreflightErrors."+ignored, "or set it so."+ignored,
		"k3s-agent-uninstall.sh."+ignored,
		"There are network configurations already: /etc/cni/net.d/10-calico.conflist",
		"has the firewall ufw; it has to let through TCP 10250", "UDP 8472")
}

// TestFailedKubeadmIsToldByItsCause joins machines on which kubeadm fails in two phases: in its own checks, and in the
// wait for a kubelet that cannot start.
func TestFailedKubeadmIsToldByItsCause(t *testing.T) {
	resetMachines(t, "m1", "m5")
	sideBySide(t, map[string]string{"m1": simulateSwap, "m5": "mv $(command -v losetup) /root/losetup"})
	configure(t, site.Overrides{Machine: refusesSwap(), VCluster: vcluster(map[string]any{
		registration + "ignorePreflightErrors": site.IgnoredChecks("Swap"),
	})})
	w := mustFail(t, teamA(), "join", "machines=m1,m5")

	headline := func(machine string) string {
		first, _, _ := strings.Cut(step(t, w, machine).Message, "\n")
		return first
	}
	assertContains(t, headline("m1"), "phase kubeadm", "the kubelet cannot start, systemd restarted it 5 times",
		"running with swap on is not supported")
	assertContains(t, headline("m5"), "phase kubeadm", "phase preflight: [ERROR FileExisting-losetup]")
	assertContains(t, step(t, w, "m5").Message, "ignorePreflightErrors")
	for _, machine := range []string{"m1", "m5"} {
		message := step(t, w, machine).Message
		assert.Assert(t, !strings.Contains(headline(machine), "stack trace"), message)
		assert.Equal(t, kubeadmRuns(t, machine), 1, "only a failure of the network is repeated")
	}
	runOn(t, "m1", "test", "!", "-e", "/etc/kubernetes/bootstrap-kubelet.conf")
	assertNoToken(t)

	sideBySide(t, map[string]string{"m1": "umount /proc/swaps", "m5": "mv /root/losetup /usr/sbin/"})
	joinByHand(t, "m1", "m5")
	assertJoined(t, "m1", "m5")
}

// kubeadmRuns counts in the logs of the machine's joins how often kubeadm has run its own checks.
func kubeadmRuns(t *testing.T, machine string) int {
	t.Helper()
	log := runOn(t, machine, "sh", "-c", "cat /var/lib/argosy/ops/join-*/log")
	return strings.Count(log, "[preflight] Running pre-flight checks")
}

// noisyLogin makes login shells print, also those that no one sees, on both streams.
const noisyLogin = `set -e
for home in /root /home/ops; do
  printf 'echo "Welcome to $(hostname), last login: never"\necho "mail: you have 3" >&2\n' > /tmp/noise
  cat $home/.bashrc >> /tmp/noise && mv /tmp/noise $home/.bashrc
done`

// simulateGPUHost makes a configuration of containerd as the NVIDIA container toolkit writes it before there is a
// containerd, and its runtime: a program that notes that it was called, and calls runc.
const simulateGPUHost = `set -e
mkdir -p /etc/containerd/conf.d
cat > /etc/containerd/config.toml <<END
version = 2
[plugins."io.containerd.grpc.v1.cri"]
enable_cdi = true
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "nvidia"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]
privileged_without_host_devices = false
runtime_engine = ""
runtime_root = ""
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia.options]
BinaryName = "/usr/bin/nvidia-container-runtime"
END
` + installGPURuntime

// installGPURuntime installs the runtime alone. Calls of it are lines of /var/log/gpu-runtime.
const installGPURuntime = `
printf '#!/bin/sh\necho called >> /var/log/gpu-runtime\nexec /usr/local/bin/runc "$@"\n' \
  > /usr/bin/nvidia-container-runtime
chmod 755 /usr/bin/nvidia-container-runtime`

// editAsGPUToolkit adds a runtime to containerd's configuration as the toolkit does on a node: it reads the file and
// writes it without comments, and containerd is restarted. $0 is the runtime's name, and the default's.
const editAsGPUToolkit = `set -e
sed -i -e '/^#/d' -e "s/^default_runtime_name = .*/default_runtime_name = '$0'/" /etc/containerd/config.toml
cat >> /etc/containerd/config.toml <<END
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.$0]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.$0.options]
BinaryName = '/usr/bin/nvidia-container-runtime'
END
systemctl restart containerd.service`

// runtimesOf returns containerd's whole configuration, as it reads it.
func runtimesOf(t *testing.T, machine string) string {
	t.Helper()
	return runOn(t, machine, "/usr/local/bin/containerd", "config", "dump")
}

// assertRunsThroughGPURuntime runs a pod and checks that the runtime of the toolkit was called for it.
func assertRunsThroughGPURuntime(t *testing.T, c virtualCluster, machine string) {
	t.Helper()
	const name, image = "of-gpu-runtime", "registry.k8s.io/pause:3.10.2"
	runOn(t, machine, "rm", "-f", "/var/log/gpu-runtime")
	kubectl(t, c, "run", name, "--image="+image, "--restart=Never",
		"--overrides="+`{"spec": {"nodeName": "`+machine+`"}}`)
	kubectl(t, c, "wait", "--for=condition=Ready", "pod/"+name, "--timeout="+patience.String())
	assertContains(t, runOn(t, machine, "cat", "/var/log/gpu-runtime"), "called")
	// A pod without a controller would block the next drain.
	kubectl(t, c, "delete", "pod", name, "--grace-period=1")
}

// TestMachinesOfManyOwnersJoinAndReconcile joins machines with noisy login shells by each way to become root, a GPU
// host, and reconciles an edit of containerd's configuration and a change of CPU policy.
func TestMachinesOfManyOwnersJoinAndReconcile(t *testing.T) {
	resetMachines(t, "m1", "m2", "m3")
	sideBySide(t, map[string]string{
		"m1": noisyLogin + "\n" + simulateGPUHost, "m2": noisyLogin, "m3": noisyLogin,
	})
	plan := argosy(t, "plan", "--namespace", site.TeamA, "--machines", "m1")
	assertContains(t, plan,
		"/etc/containerd/config.toml has the runtimes nvidia, and nvidia is the default, which stay")
	w := mustSucceed(t, teamA(), "join", "machines=m1,m2,m3")
	assertJoined(t, "m1", "m2", "m3")
	for _, machine := range []string{"m1", "m2", "m3"} {
		assert.Assert(t, !strings.Contains(step(t, w, machine).Message, "Welcome"))
	}

	t.Run("pods run in the GPU runtime", func(t *testing.T) { assertRunsThroughGPURuntime(t, teamA(), "m1") })

	runOn(t, "m1", "sh", "-c", editAsGPUToolkit, "nvidia-cdi")
	configure(t, site.Overrides{Machine: kubeletArgs("m2", map[string]string{
		"cpu-manager-policy": "static", "kube-reserved": "cpu=200m",
	})})
	kubelet, _ := servicePIDs(t, "m2")
	out, err := env.Argosy(t.Context(), "reconcile", "--namespace", site.TeamA, "--machines", "m1,m2")
	assert.Assert(t, err != nil, "reconciled all the same:\n%s", out)
	assertContains(t, out, "m1: /etc/containerd/config.toml (restarts containerd)",
		"m2: /var/lib/kubelet/kubeadm-flags.env (restarts kubelet, needs a drained node)")

	t.Run("a runtime that a toolkit added stays", func(t *testing.T) {
		assertContains(t, runtimesOf(t, "m1"), "runtimes.nvidia]", "runtimes.nvidia-cdi]",
			"default_runtime_name = 'nvidia-cdi'")
		assertContains(t, runOn(t, "m1", "cat", "/etc/containerd/config.toml"), "# Written by Argosy",
			"enable_cdi = true")
		assertRunsThroughGPURuntime(t, teamA(), "m1")
	})
	t.Run("a CPU policy changes on a drained node only", func(t *testing.T) {
		assertContains(t, out, "node m2 is not cordoned; run kubectl drain m2 --ignore-daemonsets")
		same, _ := servicePIDs(t, "m2")
		assert.Equal(t, same, kubelet, "a refusal restarts nothing")

		kubectl(t, teamA(), "drain", "m2", "--ignore-daemonsets", "--timeout="+patience.String())
		t.Cleanup(func() { _, _ = teamA().Kubectl(context.Background(), "uncordon", "m2") })
		again := argosy(t, "reconcile", "--namespace", site.TeamA, "--machines", "m1,m2")
		assert.Assert(t, !strings.Contains(again, "config.toml"), "m1 differs again:\n%s", again)
		assertContains(t, runOn(t, "m2", "cat", "/var/lib/kubelet/cpu_manager_state"), `"policyName":"static"`)
		kubectl(t, teamA(), "uncordon", "m2")
		assertJoined(t, "m2")
		assert.Equal(t, strings.TrimSpace(runOn(t, "m2", "systemctl", "show", "--property=NRestarts", "--value",
			"kubelet.service")), "0", "the kubelet started at once")
	})
}
