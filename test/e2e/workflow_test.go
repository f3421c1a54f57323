package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/test/site"
)

// patience bounds every wait of a test; it is a limit against hanging, not a claim about speed.
const patience = 8 * time.Minute

// submit starts the join template with parameters as "name=value" and returns the workflow's name.
func submit(t *testing.T, parameters ...string) string {
	t.Helper()
	args := []string{"submit", "--from", "workflowtemplate/join", "-p", "cluster=" + site.Cluster, "-o", "name"}
	for _, parameter := range parameters {
		args = append(args, "-p", parameter)
	}
	out, err := env.Argo(t.Context(), args...)
	assert.NilError(t, err)
	return strings.TrimSpace(out)
}

// workflow reads a workflow as the API server has it.
func workflow(t *testing.T, name string) *wfv1.Workflow {
	t.Helper()
	out, err := env.Kubectl(t.Context(), "get", "-n", site.Namespace, "workflow", name, "-o", "json")
	assert.NilError(t, err)
	var read wfv1.Workflow
	assert.NilError(t, json.Unmarshal([]byte(out), &read))
	return &read
}

// finished waits for the workflow's end.
func finished(t *testing.T, name string) *wfv1.Workflow {
	t.Helper()
	var last *wfv1.Workflow
	eventually(t, "workflow "+name+" ends", func() bool {
		last = workflow(t, name)
		return last.Status.Phase.Completed()
	}, func() string { return describe(last) })
	return last
}

func describe(w *wfv1.Workflow) string {
	if w == nil {
		return "never read"
	}
	lines := []string{fmt.Sprintf("workflow %s: %s %s", w.Name, w.Status.Phase, w.Status.Message)}
	for _, node := range w.Status.Nodes {
		lines = append(lines, fmt.Sprintf("  %s %s %s: %s", node.Type, node.DisplayName, node.Phase, node.Message))
	}
	return strings.Join(lines, "\n")
}

// eventually polls until done is true.
func eventually(t *testing.T, what string, done func() bool, state func() string) {
	t.Helper()
	within(t, patience, what, done, state)
}

// within is eventually with another patience.
func within(t *testing.T, limit time.Duration, what string, done func() bool, state func() string) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(250 * time.Millisecond) {
		if done() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s\n%s", limit, what, state())
		}
	}
}

// stepOf is the plugin node that worked on machine, the last one when it was retried.
func stepOf(t *testing.T, w *wfv1.Workflow, machine string) wfv1.NodeStatus {
	t.Helper()
	var found wfv1.NodeStatus
	for _, node := range w.Status.Nodes {
		if node.Type != wfv1.NodeTypePlugin || node.Inputs == nil {
			continue
		}
		for _, parameter := range node.Inputs.Parameters {
			if parameter.Name == "machine" && parameter.Value.String() == machine &&
				node.StartedAt.After(found.StartedAt.Time) {
				found = node
			}
		}
	}
	assert.Assert(t, found.ID != "", "workflow %s has no step for machine %s\n%s", w.Name, machine, describe(w))
	return found
}

// step is the plugin node of a step, its last attempt when it was retried: "plan(0)" for "plan".
func step(t *testing.T, w *wfv1.Workflow, name string) wfv1.NodeStatus {
	t.Helper()
	var found wfv1.NodeStatus
	for _, node := range w.Status.Nodes {
		display, _, _ := strings.Cut(node.DisplayName, "(")
		if node.Type == wfv1.NodeTypePlugin && display == name && node.StartedAt.After(found.StartedAt.Time) {
			found = node
		}
	}
	assert.Assert(t, found.ID != "", "workflow %s has no step %q\n%s", w.Name, name, describe(w))
	return found
}

// clean puts machines back to clean and takes their nodes out of the cluster.
func clean(t *testing.T, machines ...string) {
	t.Helper()
	assert.NilError(t, env.Lab.Reset(t.Context(), machines...))
	_, err := env.TeamKubectl(t.Context(), append([]string{"delete", "node", "--ignore-not-found"}, machines...)...)
	assert.NilError(t, err)
}

// configure applies a changed ConfigMap and restores the site's own at the end of the test.
func configure(t *testing.T, change site.Fleet) {
	t.Helper()
	apply := func(ctx context.Context, change site.Fleet) {
		config, err := env.ConfigMap(change)
		assert.NilError(t, err)
		assert.NilError(t, env.Apply(ctx, []any{config}))
	}
	apply(t.Context(), change)
	t.Cleanup(func() { apply(context.Background(), site.Fleet{}) })
}

// assertJoined says that every machine is as a finished join leaves it: a Ready node at the version with its label, one
// kubelet configuration, no token, no secret and no half-written file.
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
	out, err := env.TeamKubectl(t.Context(), "get", "node", name, "-o", "json")
	assert.NilError(t, err)
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

// assertTidy looks at the machine itself.
func assertTidy(t *testing.T, machine string) {
	t.Helper()
	for what, script := range map[string]string{
		"half-written files":  `find /var/lib/argosy /usr/local/bin /opt/cni/bin /etc/containerd /etc/kubernetes /etc/systemd/system -name '*.partial' -o -name '*.tmp' -o -name '.*.tmp*' 2>/dev/null`,
		"bundles left behind": `find /var/lib/argosy/bundles -type f 2>/dev/null`,
		"tokens in specs":     `grep -rlE '[a-z0-9]{6}\.[a-z0-9]{16}' /var/lib/argosy/ops /etc/kubernetes 2>/dev/null || true`,
	} {
		out, err := env.Lab.Exec(t.Context(), machine, "sh", "-c", script)
		assert.NilError(t, err)
		assert.Equal(t, strings.TrimSpace(out), "", "%s on %s", what, machine)
	}
	// An operation that has told its end may still wait for the disk.
	var alive string
	eventually(t, "operations on "+machine+" end", func() bool {
		alive = on(t, machine, "systemctl", "list-units", "--no-legend", "--plain", "argosy-*.service")
		return strings.TrimSpace(alive) == ""
	}, func() string { return alive })
	configs, err := env.Lab.Exec(t.Context(), machine, "sh", "-c",
		`ls /var/lib/kubelet/config.yaml /etc/kubernetes/kubelet.conf | wc -l; pgrep -c -x kubelet`)
	assert.NilError(t, err)
	assert.Equal(t, strings.Join(strings.Fields(configs), " "), "2 1", "kubelet configuration files and kubelets on %s",
		machine)
}

func assertNoToken(t *testing.T) {
	t.Helper()
	out, err := env.TeamKubectl(t.Context(), "get", "secret", "-n", "kube-system", "-l", "argosy.dev/machine", "-o",
		"name")
	assert.NilError(t, err)
	assert.Equal(t, strings.TrimSpace(out), "", "bootstrap tokens left in the cluster")
}

// statusOn is the newest operation that the machine itself remembers; false when there is none.
func statusOn(t *testing.T, machine string) (spec.Status, bool) {
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

// reaches waits until the machine works on phase.
func reaches(t *testing.T, machine, phase string) {
	t.Helper()
	var last spec.Status
	eventually(t, machine+" reaches phase "+phase, func() bool {
		status, found := statusOn(t, machine)
		last = status
		return found && status.State == spec.Running && status.Phase == phase
	}, func() string { return fmt.Sprintf("%+v", last) })
}
