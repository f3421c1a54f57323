//go:build full

package e2e_test

import (
	"context"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// Settings of privateNodes.joinNode. The tests look at the machine and at the cluster.

func TestJoinSettingsTakeEffect(t *testing.T) {
	shows(t, "privateNodes.enabled", autoUpgrade+"binariesPath", autoUpgrade+"cniBinariesPath",
		joinNode+"preInstallCommands", joinNode+"preJoinCommands", joinNode+"postJoinCommands", joinNode+"caCertPath",
		registration+"kubeletExtraArgs[].name", registration+"kubeletExtraArgs[].value",
		registration+"taints[].key", registration+"taints[].value", registration+"taints[].effect",
		registration+"imagePullPolicy", joinNode+"containerd.pauseImage")
	const machine, pause = "m1", lab.RegistryAddress + "/pause:3.10.2"
	resetMachines(t, machine)
	runOn(t, "host", "ctr", "--namespace", "k8s.io", "images", "push", "--plain-http", pause,
		"registry.k8s.io/pause:3.10.2")
	configure(t, site.Overrides{VCluster: vcluster(map[string]any{
		autoUpgrade + "binariesPath":    "/opt/argosy/bin",
		autoUpgrade + "cniBinariesPath": "/opt/argosy/cni",
		joinNode + "preInstallCommands": []string{`env | sort > /root/pre-install; ls /opt/argosy/bin/kubelet >> /root/pre-install 2>&1 || true`},
		joinNode + "preJoinCommands": []string{
			`test -S /run/containerd/containerd.sock && test ! -e /etc/kubernetes/kubelet.conf`,
			`echo ran >> /root/pre-join; (for i in $(seq 600); do cp /var/lib/argosy/ops/*/join.json /root/join.json 2>/dev/null && exit; sleep 0.05; done) >/dev/null 2>&1 &`,
		},
		joinNode + "postJoinCommands":      []string{`kubectl get node "$ARGOSY_NODE_NAME" -o name > /root/post-join`},
		joinNode + "caCertPath":            "/etc/kubernetes/other/ca.crt",
		joinNode + "containerd.pauseImage": pause,
		registration + "imagePullPolicy":   "Never",
		registration + "taints": []any{map[string]any{
			"key": "lab", "value": "busy",
			"effect": "PreferNoSchedule",
		}},
		registration + "kubeletExtraArgs": []any{
			map[string]any{"name": "node-labels", "value": "first=1"},
			map[string]any{"name": "node-labels", "value": "second=2"},
		},
	})})
	mustSucceed(t, teamA(), "join", "machines="+machine)

	t.Run("programs and plugins are in the configured folders", func(t *testing.T) {
		for _, program := range []string{"kubelet", "containerd"} {
			assert.Equal(t, strings.TrimSpace(runOn(t, machine, "sh", "-c", `readlink /proc/$(pgrep -x "$0")/exe`,
				program)), "/opt/argosy/bin/"+program)
		}
		out := runOn(t, machine, "sh", "-c", "ls /opt/argosy/cni; ls /usr/local/bin /opt/cni/bin 2>/dev/null; true")
		assert.Assert(t, strings.Contains(out, "bridge") && !strings.Contains(out, "kubelet"), out)
		mustPull(t, machine, []string{lab.RegistryAddress + "/web:v1"}) // which needs the plugins of the pods' network
	})
	t.Run("commands ran once, in order, with their environment", func(t *testing.T) {
		before := runOn(t, machine, "cat", "/root/pre-install")
		for _, line := range []string{
			"ARGOSY_CLUSTER=team-a", "ARGOSY_MACHINE=m1", "ARGOSY_NODE_NAME=m1",
			"ARGOSY_KUBERNETES_VERSION=" + site.Version, "ARGOSY_BINARIES_PATH=/opt/argosy/bin",
		} {
			assertContains(t, before, line+"\n")
		}
		assert.Assert(t, strings.Contains(before, "No such file"), "something was installed before: %s", before)
		assert.Equal(t, runOn(t, machine, "cat", "/root/pre-join"), "ran\n")
		assert.Equal(t, runOn(t, machine, "cat", "/root/post-join"), "node/m1\n")
		mustSucceed(t, teamA(), "join", "machines="+machine)
		assert.Equal(t, runOn(t, machine, "cat", "/root/pre-join"), "ran\n", "a second join runs nothing again")
	})
	t.Run("the CA is at its path and kubelet trusts it",
		func(t *testing.T) {
			assertContains(t, runOn(t, machine, "cat", "/etc/kubernetes/other/ca.crt"), "BEGIN CERTIFICATE")
			runOn(t, machine, "test", "!", "-e", "/etc/kubernetes/pki/ca.crt")
			out := kubectl(t, teamA(), "get", "--raw", "/api/v1/nodes/"+machine+"/proxy/healthz")
			assert.Equal(t, out, "ok")
		})
	t.Run("the kubelet has its arguments, also two of one name", func(t *testing.T) {
		running := runOn(t, machine, "sh", "-c", `tr '\0' '\n' < /proc/$(pgrep -x kubelet)/cmdline`)
		assertContains(t, running, "--node-labels=first=1\n", "--node-labels=second=2\n")
		node := readNode(t, machine)
		assert.Equal(t, node.Labels["first"]+node.Labels["second"], "12")
	})
	t.Run("the node has its taint", func(t *testing.T) {
		taints := readNode(t, machine).Spec.Taints
		assert.Assert(t, len(taints) == 1 && taints[0].ToString() == "lab=busy:PreferNoSchedule", "%v", taints)
	})
	t.Run("sandboxes use the pause image, which is pinned", func(t *testing.T) {
		images := runOn(t, machine, "/opt/argosy/bin/ctr", "--namespace", "k8s.io", "images", "list", "name=="+pause)
		assertContains(t, images, "io.cri-containerd.pinned=pinned")
		sandboxes := runOn(t, machine, "/opt/argosy/bin/ctr", "--namespace", "k8s.io", "containers", "list",
			"labels.\"io.cri-containerd.kind\"==sandbox")
		assertContains(t, sandboxes, pause)
	})
	t.Run("kubeadm has the pull policy", func(t *testing.T) {
		given := runOn(t, machine, "cat", "/root/join.json")
		assert.Assert(t, strings.Contains(given, `"imagePullPolicy": "Never"`), "kubeadm's configuration lacks it")
		// The file for discovery was deleted after the join.
		runOn(t, machine, "sed", "-i", `s#"kubeConfigPath": ".*"#"kubeConfigPath": "/etc/kubernetes/kubelet.conf"#`,
			"/root/join.json")
		runOn(t, machine, "/opt/argosy/bin/kubeadm", "config", "validate", "--config", "/root/join.json")
	})
}

func TestPreflightChecksCanBeSkippedOrIgnored(t *testing.T) {
	shows(t, joinNode+"skipPhases", registration+"ignorePreflightErrors")
	const machine = "m5"
	// kubeadm's preflight refuses a machine without losetup, which nothing else needs.
	joinWithoutLosetup := func(t *testing.T, settings map[string]any) *wfv1.Workflow {
		t.Helper()
		resetMachines(t, machine)
		runOn(t, machine, "sh", "-c", "mv $(command -v losetup) /root/losetup")
		configure(t, site.Overrides{VCluster: vcluster(settings)})
		return run(t, teamA(), "join", "machines="+machine)
	}
	log := func(t *testing.T) string { return runOn(t, machine, "sh", "-c", "cat /var/lib/argosy/ops/join-*/log") }

	t.Run("neither", func(t *testing.T) {
		w := joinWithoutLosetup(t, nil)
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
		assertContains(t, step(t, w, machine).Message, "FileExisting-losetup")
	})
	t.Run("the check is ignored", func(t *testing.T) {
		w := joinWithoutLosetup(t, map[string]any{registration +
			"ignorePreflightErrors": site.IgnoredChecks("FileExisting-losetup")})
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
		assertContains(t, log(t), "[preflight] Running pre-flight checks")
	})
	t.Run("the phase is skipped", func(t *testing.T) {
		w := joinWithoutLosetup(t, map[string]any{joinNode + "skipPhases": []string{"preflight"}})
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
		assert.Assert(t, !strings.Contains(log(t), "[preflight] Running pre-flight checks"))
	})
}

func TestJoinContinuesAtFailedCommand(t *testing.T) {
	shows(t, joinNode+"preJoinCommands")
	const machine = "m5"
	resetMachines(t, machine)
	configure(t, site.Overrides{VCluster: vcluster(map[string]any{
		joinNode + "preJoinCommands": []string{
			`echo first >> /root/ran`,
			`echo looking for the licence; test -e /root/licence`,
		},
	})})
	w := mustFail(t, teamA(), "join", "machines="+machine)
	message := step(t, w, machine).Message
	for _, part := range []string{"pre-join", "exit status 1", "looking for the licence"} {
		assertContains(t, message, part)
	}
	runOn(t, machine, "touch", "/root/licence")
	mustSucceed(t, teamA(), "join", "machines="+machine)
	assert.Equal(t, runOn(t, machine, "cat", "/root/ran"), "first\n", "a command that succeeded does not run again")
}

func TestMachineOverridesSettings(t *testing.T) {
	resetMachines(t, "m1", "m5")
	configure(t, site.Overrides{
		VCluster: vcluster(map[string]any{registration + "kubeletExtraArgs": []any{map[string]any{
			"name":  "node-labels",
			"value": "tier=common",
		}}}),
		Machine: editMachine("m5", func(entry map[string]any) {
			entry["nodeName"] = "worker-five"
			entry["taints"] = []any{map[string]any{"key": "own", "effect": "PreferNoSchedule"}}
			entry["join"] = map[string]any{
				"binariesPath":    "/opt/five/bin",
				"preJoinCommands": []string{"touch /root/only-five"},
				"nodeRegistration": map[string]any{"kubeletExtraArgs": []any{map[string]any{
					"name":  "node-labels",
					"value": "tier=five",
				}}},
			}
		}),
	})
	t.Cleanup(func() {
		_, _ = teamA().Kubectl(context.Background(), "delete", "node", "worker-five", "--ignore-not-found")
	})
	out := argosy(t, "plan", "--namespace", site.TeamA, "--machines", "m5")
	assert.Assert(t, strings.Contains(out, "/opt/five/bin"), "the plan does not show the override: %s", out)

	mustSucceed(t, teamA(), "join", "machines=m1,m5")
	assert.Equal(t, readNode(t, "m1").Labels["tier"], "common")
	five := readNode(t, "worker-five")
	assert.Equal(t, five.Labels["tier"], "five")
	assert.Equal(t, five.Spec.Taints[0].Key, "own")
	assert.Equal(t, strings.TrimSpace(runOn(t, "m5", "sh", "-c", `readlink /proc/$(pgrep -x kubelet)/exe`)),
		"/opt/five/bin/kubelet")
	runOn(t, "m5", "test", "-e", "/root/only-five")
	runOn(t, "m1", "test", "!", "-e", "/root/only-five")
	_, err := resetByHand(t, "m5", "--yes")
	assert.NilError(t, err)
}
