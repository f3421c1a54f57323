//go:build full

package e2e_test

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// What the keys of privateNodes.joinNode do to a machine that joins. The tests look at the machine and at the cluster.

func TestTheSettingsOfAJoinTakeEffect(t *testing.T) {
	shows(t, "privateNodes.enabled", autoUpgrade+"binariesPath", autoUpgrade+"cniBinariesPath",
		joinNode+"preInstallCommands", joinNode+"preJoinCommands", joinNode+"postJoinCommands", joinNode+"caCertPath",
		registration+"kubeletExtraArgs[].name", registration+"kubeletExtraArgs[].value",
		registration+"taints[].key", registration+"taints[].value", registration+"taints[].effect",
		registration+"imagePullPolicy", joinNode+"containerd.pauseImage")
	const machine, pause = "m1", lab.RegistryAddress + "/pause:3.10.1"
	clean(t, machine)
	on(t, "host", "ctr", "--namespace", "k8s.io", "images", "push", "--plain-http", pause,
		"registry.k8s.io/pause:3.10.1")
	configure(t, site.Fleet{VCluster: vcluster(map[string]any{
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
		registration + "taints": []any{map[string]any{"key": "lab", "value": "busy",
			"effect": "PreferNoSchedule"}},
		registration + "kubeletExtraArgs": []any{
			map[string]any{"name": "node-labels", "value": "first=1"},
			map[string]any{"name": "node-labels", "value": "second=2"},
		},
	})})
	joins(t, machine)

	t.Run("programs and plugins are where they were wanted", func(t *testing.T) {
		for _, program := range []string{"kubelet", "containerd"} {
			assert.Equal(t, strings.TrimSpace(on(t, machine, "sh", "-c", `readlink /proc/$(pgrep -x "$0")/exe`,
				program)), "/opt/argosy/bin/"+program)
		}
		out := on(t, machine, "sh", "-c", "ls /opt/argosy/cni; ls /usr/local/bin /opt/cni/bin 2>/dev/null; true")
		assert.Assert(t, strings.Contains(out, "bridge") && !strings.Contains(out, "kubelet"), out)
		pulls(t, machine, []string{lab.RegistryAddress + "/web:v1"}) // which needs the plugins of the pods' network
	})
	t.Run("commands ran when they should, once, and know where they are", func(t *testing.T) {
		before := on(t, machine, "cat", "/root/pre-install")
		for _, line := range []string{"ARGOSY_CLUSTER=team-a", "ARGOSY_MACHINE=m1", "ARGOSY_NODE_NAME=m1",
			"ARGOSY_KUBERNETES_VERSION=" + site.Version, "ARGOSY_BINARIES_PATH=/opt/argosy/bin"} {
			assert.Assert(t, strings.Contains(before, line+"\n"), before)
		}
		assert.Assert(t, strings.Contains(before, "No such file"), "something was installed before: %s", before)
		assert.Equal(t, on(t, machine, "cat", "/root/pre-join"), "ran\n")
		assert.Equal(t, on(t, machine, "cat", "/root/post-join"), "node/m1\n")
		joins(t, machine)
		assert.Equal(t, on(t, machine, "cat", "/root/pre-join"), "ran\n", "a second join runs nothing again")
	})
	t.Run("the certificate authority is where it was wanted, and the kubelet lets the cluster in by it",
		func(t *testing.T) {
			assert.Assert(t, strings.Contains(on(t, machine, "cat", "/etc/kubernetes/other/ca.crt"),
				"BEGIN CERTIFICATE"))
			on(t, machine, "test", "!", "-e", "/etc/kubernetes/pki/ca.crt")
			out, err := env.TeamKubectl(t.Context(), "get", "--raw", "/api/v1/nodes/"+machine+"/proxy/healthz")
			assert.NilError(t, err)
			assert.Equal(t, out, "ok")
		})
	t.Run("arguments arrive, also two of one name", func(t *testing.T) {
		running := on(t, machine, "sh", "-c", `tr '\0' '\n' < /proc/$(pgrep -x kubelet)/cmdline`)
		assert.Assert(t, strings.Contains(running, "--node-labels=first=1\n") &&
			strings.Contains(running, "--node-labels=second=2\n"), running)
		node := readNode(t, machine)
		assert.Equal(t, node.Labels["first"]+node.Labels["second"], "12")
	})
	t.Run("the node has its taint", func(t *testing.T) {
		taints := readNode(t, machine).Spec.Taints
		assert.Assert(t, len(taints) == 1 && taints[0].ToString() == "lab=busy:PreferNoSchedule", "%v", taints)
	})
	t.Run("pods' sandboxes are of the pause image, which stays", func(t *testing.T) {
		images := on(t, machine, "/opt/argosy/bin/ctr", "--namespace", "k8s.io", "images", "list", "name=="+pause)
		assert.Assert(t, strings.Contains(images, "io.cri-containerd.pinned=pinned"), images)
		sandboxes := on(t, machine, "/opt/argosy/bin/ctr", "--namespace", "k8s.io", "containers", "list",
			"labels.\"io.cri-containerd.kind\"==sandbox")
		assert.Assert(t, strings.Contains(sandboxes, pause), sandboxes)
	})
	t.Run("kubeadm was told how to pull", func(t *testing.T) {
		given := on(t, machine, "cat", "/root/join.json")
		assert.Assert(t, strings.Contains(given, `"imagePullPolicy": "Never"`), "kubeadm's configuration lacks it")
		// What it is to discover the cluster by was a file of that moment.
		on(t, machine, "sed", "-i", `s#"kubeConfigPath": ".*"#"kubeConfigPath": "/etc/kubernetes/kubelet.conf"#`,
			"/root/join.json")
		on(t, machine, "/opt/argosy/bin/kubeadm", "config", "validate", "--config", "/root/join.json")
	})
}

func TestKubeadmsChecksAreSkippedOrIgnoredAsAsked(t *testing.T) {
	shows(t, joinNode+"skipPhases", registration+"ignorePreflightErrors")
	const machine = "m5"
	// A program that is missing is what kubeadm's preflight refuses, and nobody else asks for.
	spoil := func(t *testing.T, settings map[string]any) *wfv1.Workflow {
		t.Helper()
		clean(t, machine)
		on(t, machine, "sh", "-c", "mv $(command -v losetup) /root/losetup")
		configure(t, site.Fleet{VCluster: vcluster(settings)})
		return finished(t, submit(t, "machines="+machine))
	}
	log := func(t *testing.T) string { return on(t, machine, "sh", "-c", "cat /var/lib/argosy/ops/join-*/log") }

	t.Run("neither", func(t *testing.T) {
		w := spoil(t, nil)
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
		assert.Assert(t, strings.Contains(stepOf(t, w, machine).Message, "FileExisting-losetup"), describe(w))
	})
	t.Run("the check is ignored", func(t *testing.T) {
		w := spoil(t, map[string]any{registration + "ignorePreflightErrors": []string{"FileExisting-losetup"}})
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
		assert.Assert(t, strings.Contains(log(t), "[preflight] Running pre-flight checks"))
	})
	t.Run("the phase is skipped", func(t *testing.T) {
		w := spoil(t, map[string]any{joinNode + "skipPhases": []string{"preflight"}})
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
		assert.Assert(t, !strings.Contains(log(t), "[preflight] Running pre-flight checks"))
	})
}

func TestACommandThatFailsStopsTheJoinAndIsTakenUpWhereItWas(t *testing.T) {
	shows(t, joinNode+"preJoinCommands")
	const machine = "m5"
	clean(t, machine)
	configure(t, site.Fleet{VCluster: vcluster(map[string]any{
		joinNode + "preJoinCommands": []string{`echo first >> /root/ran`,
			`echo looking for the licence; test -e /root/licence`},
	})})
	w := finished(t, submit(t, "machines="+machine))
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
	message := stepOf(t, w, machine).Message
	for _, part := range []string{"pre-join", "exit status 1", "looking for the licence"} {
		assert.Assert(t, strings.Contains(message, part), message)
	}
	on(t, machine, "touch", "/root/licence")
	joins(t, machine)
	assert.Equal(t, on(t, machine, "cat", "/root/ran"), "first\n", "a command that succeeded does not run again")
}

func TestOneMachineHasSettingsOfItsOwn(t *testing.T) {
	clean(t, "m1", "m5")
	configure(t, site.Fleet{
		VCluster: vcluster(map[string]any{registration + "kubeletExtraArgs": []any{map[string]any{"name": "node-labels",
			"value": "tier=common"}}}),
		Machine: edit("m5", func(entry map[string]any) {
			entry["nodeName"] = "worker-five"
			entry["taints"] = []any{map[string]any{"key": "own", "effect": "PreferNoSchedule"}}
			entry["join"] = map[string]any{
				"binariesPath":    "/opt/five/bin",
				"preJoinCommands": []string{"touch /root/only-five"},
				"nodeRegistration": map[string]any{"kubeletExtraArgs": []any{map[string]any{"name": "node-labels",
					"value": "tier=five"}}},
			}
		}),
	})
	t.Cleanup(func() { _, _ = env.TeamKubectl(t.Context(), "delete", "node", "worker-five", "--ignore-not-found") })
	out, err := env.Argosy(t.Context(), "plan", "--namespace", site.Namespace, "--machines", "m5")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "/opt/five/bin"), "the plan does not show the override: %s", out)

	joins(t, "m1,m5")
	assert.Equal(t, readNode(t, "m1").Labels["tier"], "common")
	five := readNode(t, "worker-five")
	assert.Equal(t, five.Labels["tier"], "five")
	assert.Equal(t, five.Spec.Taints[0].Key, "own")
	assert.Equal(t, strings.TrimSpace(on(t, "m5", "sh", "-c", `readlink /proc/$(pgrep -x kubelet)/exe`)),
		"/opt/five/bin/kubelet")
	on(t, "m5", "test", "-e", "/root/only-five")
	on(t, "m1", "test", "!", "-e", "/root/only-five")
	_, err = reset(t, "m5", "--yes")
	assert.NilError(t, err)
}
