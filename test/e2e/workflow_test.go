package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/test/site"
)

// assertJoined checks that each machine is a Ready node at the version with its label, with one kubelet configuration,
// and without tokens, secrets and half-written files.
func assertJoined(t *testing.T, machines ...string) {
	t.Helper()
	for _, machine := range machines {
		node := readNode(t, machine)
		assert.Equal(t, node.Status.NodeInfo.KubeletVersion, site.Version)
		assert.Equal(t, node.Labels["lab"], "argosy")
		assert.Assert(t, isReady(node), "node %s is not Ready", machine)
		assertTidy(t, machine)
	}
	assertNoToken(t)
}

func readNode(t *testing.T, name string) corev1.Node {
	t.Helper()
	out := kubectl(t, teamA(), "get", "node", name, "-o", "json")
	var node corev1.Node
	assert.NilError(t, json.Unmarshal([]byte(out), &node))
	return node
}

func isReady(node corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// assertTidy checks the machine itself.
func assertTidy(t *testing.T, machine string) {
	t.Helper()
	for what, script := range map[string]string{
		"half-written files":  `find /var/lib/argosy /usr/local/bin /opt/cni/bin /etc/containerd /etc/kubernetes /etc/systemd/system -name '*.partial' -o -name '*.tmp' -o -name '.*.tmp*' 2>/dev/null`,
		"bundles left behind": `find /var/lib/argosy/bundles -type f 2>/dev/null`,
		"tokens in specs":     `grep -rlE '[a-z0-9]{6}\.[a-z0-9]{16}' /var/lib/argosy/ops /etc/kubernetes 2>/dev/null || true`,
	} {
		out := runOn(t, machine, "sh", "-c", script)
		assert.Equal(t, strings.TrimSpace(out), "", "%s on %s", what, machine)
	}
	// An operation that has reported its end may still sync the disk.
	var alive string
	eventually(t, "operations on "+machine+" end", func() bool {
		alive = runOn(t, machine, "systemctl", "list-units", "--no-legend", "--plain", "argosy-*.service")
		return strings.TrimSpace(alive) == ""
	}, func() string { return alive })
	configs := runOn(t, machine, "sh", "-c",
		`ls /var/lib/kubelet/config.yaml /etc/kubernetes/kubelet.conf | wc -l; pgrep -c -x kubelet`)
	assert.Equal(t, strings.Join(strings.Fields(configs), " "), "2 1", "kubelet configuration files and kubelets on %s",
		machine)
}

func assertNoToken(t *testing.T) {
	t.Helper()
	out := kubectl(t, teamA(), "get", "secret", "-n", "kube-system", "-l", "argosy.dev/machine", "-o",
		"name")
	assert.Equal(t, strings.TrimSpace(out), "", "bootstrap tokens left in the cluster")
}

// operationStatus returns the newest operation that the machine remembers; false if there is none.
func operationStatus(t *testing.T, machine string) (spec.Status, bool) {
	t.Helper()
	out, err := env.Lab.Exec(t.Context(), machine, "sh", "-c",
		`cat "$(ls -t /var/lib/argosy/ops/*/status.json 2>/dev/null | head -n 1)" 2>/dev/null || true`)
	if err != nil || strings.TrimSpace(out) == "" {
		return spec.Status{}, false
	}
	var status spec.Status
	assert.NilError(t, yaml.Unmarshal([]byte(out), &status))
	return status, true
}

// delayStart lets a unit of a machine take 10 s longer to start until the machine's next boot, so that a test sees the
// phase that starts it.
func delayStart(t *testing.T, machine, unit string) {
	t.Helper()
	folder := "/run/systemd/system/" + unit + ".d"
	runOn(t, machine, "mkdir", "-p", folder)
	_, err := env.Lab.ExecInput(t.Context(), machine, strings.NewReader("[Service]\nExecStartPre=/bin/sleep 10\n"),
		"tee", folder+"/delay.conf")
	assert.NilError(t, err)
	runOn(t, machine, "systemctl", "daemon-reload")
}

// waitForPhase waits until the machine's operation is in a phase. A phase that ends at once can be missed: see
// delayStart.
func waitForPhase(t *testing.T, machine, phase string) {
	t.Helper()
	var last spec.Status
	eventually(t, machine+" reaches phase "+phase, func() bool {
		status, found := operationStatus(t, machine)
		last = status
		return found && status.State == spec.Running && status.Phase == phase
	}, func() string { return fmt.Sprintf("%+v", last) })
}
