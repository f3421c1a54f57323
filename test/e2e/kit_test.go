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

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// The kit of the end-to-end tests. A test puts machines into a known state, submits a workflow, and looks at the
// workflow, the machines and the cluster:
//
//	func TestAMachineJoins(t *testing.T) {
//		resetMachines(t, "m1")
//		w := mustSucceed(t, teamA(), "join", "machines=m1")
//		assertContains(t, step(t, w, "m1").Message, "node m1 is Ready")
//		assertJoined(t, "m1")
//		assertContains(t, runOn(t, "m1", "systemctl", "is-active", "kubelet"), "active")
//		kubectl(t, teamA(), "get", "node", "m1")
//	}
//
// The cluster is teamA(), whose control plane the lab has, or a hosted one that newCluster makes. Every function ends
// the test where it fails, and a failed test logs the workflows that it waited for.

// virtualCluster is where a test submits workflows and looks for nodes.
type virtualCluster interface {
	// Kubectl runs kubectl against the cluster, HostKubectl against its namespace of the host cluster.
	Kubectl(ctx context.Context, args ...string) (string, error)
	HostKubectl(ctx context.Context, args ...string) (string, error)
	// ApplyManifest sets objects in the cluster.
	ApplyManifest(ctx context.Context, manifest string) error
	// Argo runs argo in its namespace of the host cluster.
	Argo(ctx context.Context, args ...string) (string, error)
	// Submit submits a workflow template for the cluster and returns the workflow's name.
	Submit(ctx context.Context, template string, parameters ...string) (string, error)
}

// teamA returns the cluster whose control plane the lab makes with kubeadm.
func teamA() *site.Cluster { return env.TeamA() }

// newCluster makes the namespace and documents of cluster team-c, and removes both when the test ends. Provisioning it
// is left to the test. Its machines are reset without a pod network: the cluster brings its own.
func newCluster(t *testing.T, vcluster func(document map[string]any), machines ...string) *site.HostedCluster {
	t.Helper()
	cluster := env.HostedCluster("team-c", machines...)
	cluster.VCluster = vcluster
	assert.NilError(t, cluster.Remove(t.Context()))
	assert.NilError(t, env.Lab.ResetAs(t.Context(), lab.ResetOptions{WithoutPodNetwork: true}, machines...))
	assert.NilError(t, cluster.Install(t.Context()))
	t.Cleanup(func() {
		assert.NilError(t, cluster.Remove(context.Background()))
		assert.NilError(t, env.Lab.Reset(context.Background(), machines...))
	})
	return cluster
}

// resetMachines makes machines clean again and takes their nodes out of team-a.
func resetMachines(t *testing.T, machines ...string) {
	t.Helper()
	assert.NilError(t, env.Lab.Reset(t.Context(), machines...))
	kubectl(t, teamA(), append([]string{"delete", "node", "--ignore-not-found"}, machines...)...)
}

// joinByHand joins machines to team-a by the command line program, which takes a third of a workflow's time: for tests
// whose subject is not the workflow.
func joinByHand(t *testing.T, machines ...string) {
	t.Helper()
	argosy(t, "join", "--namespace", site.TeamA, "--machines", strings.Join(machines, ","))
}

// mustRefuseJoin is joinByHand of a machine that must not be joined, and returns the output.
func mustRefuseJoin(t *testing.T, machine string) (output string) {
	t.Helper()
	output, err := env.Argosy(t.Context(), "join", "--namespace", site.TeamA, "--machines", machine)
	assert.Assert(t, err != nil, "joined all the same:\n%s", output)
	return output
}

// configure applies changed documents of team-a and restores the site's own when the test ends.
func configure(t *testing.T, change site.Overrides) {
	t.Helper()
	set := func(ctx context.Context, change site.Overrides) {
		config, err := env.ConfigMap(change)
		assert.NilError(t, err)
		assert.NilError(t, env.Apply(ctx, []any{config}))
	}
	set(t.Context(), change)
	t.Cleanup(func() { set(context.Background(), site.Overrides{}) })
}

// submit submits a workflow template with parameters as "name=value" and returns the workflow's name.
func submit(t *testing.T, c virtualCluster, template string, parameters ...string) string {
	t.Helper()
	name, err := c.Submit(t.Context(), template, parameters...)
	assert.NilError(t, err)
	return name
}

// waitForEnd waits until a workflow is completed and returns it.
func waitForEnd(t *testing.T, c virtualCluster, name string) *wfv1.Workflow {
	t.Helper()
	w := &wfv1.Workflow{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(describe(w))
		}
	})
	eventuallyWithin(t, 2*patience, "workflow "+name+" ends", func() bool {
		read, err := readWorkflow(t, c, name)
		if err != nil {
			return false // the API server may be away: some tests reboot it
		}
		w = read
		return w.Status.Phase.Completed()
	}, func() string { return describe(w) })
	return w
}

// run submits a workflow template and waits for the workflow's end.
func run(t *testing.T, c virtualCluster, template string, parameters ...string) *wfv1.Workflow {
	t.Helper()
	return waitForEnd(t, c, submit(t, c, template, parameters...))
}

// mustSucceed runs a workflow that is expected to succeed.
func mustSucceed(t *testing.T, c virtualCluster, template string, parameters ...string) *wfv1.Workflow {
	t.Helper()
	w := run(t, c, template, parameters...)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
	return w
}

// mustFail runs a workflow that is expected to fail.
func mustFail(t *testing.T, c virtualCluster, template string, parameters ...string) *wfv1.Workflow {
	t.Helper()
	w := run(t, c, template, parameters...)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
	return w
}

// step returns the last attempt of a plugin step, by the step's name or by the machine that it worked on.
func step(t *testing.T, w *wfv1.Workflow, name string) wfv1.NodeStatus {
	t.Helper()
	var found wfv1.NodeStatus
	for _, node := range w.Status.Nodes {
		if node.Type == wfv1.NodeTypePlugin && isStep(node, name) && node.StartedAt.After(found.StartedAt.Time) {
			found = node
		}
	}
	assert.Assert(t, found.ID != "", "workflow %s has no step %q", w.Name, name)
	return found
}

// isStep reports whether a node is called name, without the number of its attempt: "plan(0)" is "plan". A node whose
// parameter machine is name is one as well.
func isStep(node wfv1.NodeStatus, name string) bool {
	if display, _, _ := strings.Cut(node.DisplayName, "("); display == name {
		return true
	}
	if node.Inputs == nil {
		return false
	}
	for _, parameter := range node.Inputs.Parameters {
		if parameter.Name == "machine" && parameter.Value.String() == name {
			return true
		}
	}
	return false
}

// output returns an output parameter of a workflow.
func output(t *testing.T, w *wfv1.Workflow, name string) string {
	t.Helper()
	node := w.Status.Nodes[w.Name]
	assert.Assert(t, node.Outputs != nil, "workflow %s has no outputs", w.Name)
	for _, parameter := range node.Outputs.Parameters {
		if parameter.Name == name {
			return parameter.Value.String()
		}
	}
	t.Fatalf("workflow %s has no output %q", w.Name, name)
	return ""
}

// kubectl runs kubectl against a cluster and returns its output without the spaces around it.
func kubectl(t *testing.T, c virtualCluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...)
	assert.NilError(t, err)
	return strings.TrimSpace(out)
}

// hostKubectl is kubectl against a cluster's namespace of the host cluster.
func hostKubectl(t *testing.T, c virtualCluster, args ...string) string {
	t.Helper()
	out, err := c.HostKubectl(t.Context(), args...)
	assert.NilError(t, err)
	return strings.TrimSpace(out)
}

// apply sets the objects of a manifest in a cluster.
func apply(t *testing.T, c virtualCluster, manifest string) {
	t.Helper()
	assert.NilError(t, c.ApplyManifest(t.Context(), manifest))
}

// argosy runs the command line program against the host cluster.
func argosy(t *testing.T, args ...string) string {
	t.Helper()
	out, err := env.Argosy(t.Context(), args...)
	assert.NilError(t, err)
	return out
}

// machineNamed returns a machine of the lab, to reboot it, cut its power or disconnect it.
func machineNamed(t *testing.T, name string) lab.Machine {
	t.Helper()
	m, err := env.Lab.Machine(name)
	assert.NilError(t, err)
	return m
}

// runOn runs a command on a machine as root and returns its output.
func runOn(t *testing.T, machine string, argv ...string) string {
	t.Helper()
	out, err := env.Lab.Exec(t.Context(), machine, argv...)
	assert.NilError(t, err, strings.Join(argv, " "))
	return out
}

// eventually polls until done is true; state describes what is there instead.
func eventually(t *testing.T, what string, done func() bool, state func() string) {
	t.Helper()
	eventuallyWithin(t, patience, what, done, state)
}

// eventuallyPrints polls until the output of kubectl against the cluster contains wanted.
func eventuallyPrints(t *testing.T, c virtualCluster, wanted string, args ...string) {
	t.Helper()
	var out string
	eventually(t, fmt.Sprintf("kubectl %s prints %q", strings.Join(args, " "), wanted), func() bool {
		var err error
		out, err = c.Kubectl(t.Context(), args...)
		return err == nil && strings.Contains(out, wanted)
	}, func() string { return out })
}

// eventuallyReady polls until nodes of a cluster are Ready.
func eventuallyReady(t *testing.T, c virtualCluster, nodes ...string) {
	t.Helper()
	for _, node := range nodes {
		eventuallyPrints(t, c, "True", "get", "node", node, "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	}
}

// assertContains checks that a text has all parts.
func assertContains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		assert.Assert(t, strings.Contains(text, part), "%q is not in:\n%s", part, text)
	}
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, done func() bool, state func() string) {
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

func readWorkflow(t *testing.T, c virtualCluster, name string) (*wfv1.Workflow, error) {
	t.Helper()
	out, err := c.HostKubectl(t.Context(), "get", "workflow", name, "-o", "json")
	if err != nil {
		return nil, err
	}
	var read wfv1.Workflow
	assert.NilError(t, json.Unmarshal([]byte(out), &read))
	return &read, nil
}

// describe returns a workflow's phase and message, and those of its nodes.
func describe(w *wfv1.Workflow) string {
	lines := []string{fmt.Sprintf("workflow %s: %s %s", w.Name, w.Status.Phase, w.Status.Message)}
	for _, node := range w.Status.Nodes {
		lines = append(lines, fmt.Sprintf("  %s %s %s: %s", node.Type, node.DisplayName, node.Phase, node.Message))
	}
	return strings.Join(lines, "\n")
}
