//go:build full

package e2e_test

import (
	"context"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
)

// What takes long: dead machines, clusters that are gone, and the way into another cluster.

func TestAPodThatNobodyBringsBackKeepsTheMachineUnlessForced(t *testing.T) {
	pair(t)
	podRuns(t, "m1")

	w := leaves(t, "remove", "machines=m1")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	assert.Assert(t, strings.Contains(stepOf(t, w, "m1").Message,
		"no controller brings back default/stays-until-the-end"), describe(w))
	assert.Assert(t, !cordoned(t, "m1"))

	w = leaves(t, "remove", "machines=m1", "force=true")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
}

func TestADeadMachinesNodeIsRemovedAndALivingOnesIsNot(t *testing.T) {
	pair(t)
	guarded(t, "web", "1")
	w := leaves(t, "remove", "machines=m1", "unreachable=true")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	assert.Assert(t, strings.Contains(stepOf(t, w, "m1").Message, "so the machine is alive"), describe(w))
	assert.Assert(t, isReady(readNode(t, "m1")) && !cordoned(t, "m1"))

	on(t, "m1", "systemctl", "stop", "kubelet")
	assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), false))
	t.Cleanup(func() { _ = machineNamed(t, "m1").Connect(context.Background(), true) })
	team(t, "wait", "--for=condition=Ready=Unknown", "node/m1", "--timeout="+patience.String())
	w = leaves(t, "remove", "machines=m1", "unreachable=true")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, strings.Contains(stepOf(t, w, "m1").Message, "reset it before it serves anything else"),
		describe(w))
	assert.Assert(t, !strings.Contains(team(t, "get", "nodes", "-o", "name"), "m1"))
	eventually(t, "the pod runs elsewhere", func() bool { return placed(t, "web") == "m5" },
		func() string { return placed(t, "web") })

	// It comes back, as it was.
	assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), true))
	w = leaves(t, "reset", "machines=m1")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "summary").Message, "1 of 1 machines reset"), describe(w))
	joins(t, "m1")
	assertJoined(t, "m1")
}

func TestMachinesOfAClusterThatIsGoneAreResetByAWorkflow(t *testing.T) {
	clean(t, "m1")
	joins(t, "m1")
	on(t, "m1", "sed", "-i", `s/"clusterUID":"[^"]*"/"clusterUID":"of-another-cluster"/`, "/var/lib/argosy/node.json")
	w := leaves(t, "reset", "machines=m1")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	assert.Assert(t, strings.Contains(stepOf(t, w, "m1").Message, "with the UID of-another-cluster"), describe(w))

	w = leaves(t, "reset", "machines=m1", "clusterGone=true")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "verify").Message, "1 of 1 machines have left"), describe(w))
	team(t, "delete", "node", "m1")
}

func TestARemovedMachineJoinsAnotherClusterAtOnce(t *testing.T) {
	before := pair(t)
	w := leaves(t, "remove", "machines=m1")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))

	other := newCluster(t, nil)
	provision(t, other)
	other.Machines = []string{"m1"}
	assert.NilError(t, other.ApplyDocuments(t.Context()))
	joinAll(t, other)
	soon(t, other, "True", "get", "node", "m1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	inside(t, other, "rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout="+patience.String())

	// It is the only one there, and leaves all the same: its pods wait for another.
	succeeded(t, other, "remove", "machines=m1")
	assert.DeepEqual(t, strings.Split(inventoryOf(t, "m1"), "\n"), strings.Split(before, "\n"))
	joins(t, "m1")
	assertJoined(t, "m1")
}

func TestABudgetThatForbidsItKeepsTheMachine(t *testing.T) {
	pair(t)
	guarded(t, "only", "1")
	pod := team(t, "get", "pods", "-l", "app=only", "-o", "jsonpath={.items[0].metadata.uid}")
	const blocked = "of Deployment only (PDB only allows none: 1 healthy, 1 needed)"

	w := leaves(t, "remove", "machines=m1", "dryRun=true")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "plan").Message, blocked), describe(w))

	for _, before := range []bool{false, true} {
		if before {
			team(t, "cordon", "m1")
		}
		w = leaves(t, "remove", "machines=m1", "drainTimeout=10s")
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
		message := stepOf(t, w, "m1").Message
		assert.Assert(t, strings.Contains(message, "after 10s 1 of") && strings.Contains(message, blocked), message)
		assert.Equal(t, strings.Contains(message, "node m1 takes pods again"), !before, message)
		assert.Equal(t, cordoned(t, "m1"), before)
		assert.Assert(t, isReady(readNode(t, "m1")))
	}
	assert.Equal(t, team(t, "get", "pods", "-l", "app=only", "-o", "jsonpath={.items[0].metadata.uid}"), pod)
}
