//go:build full

package e2e_test

import (
	"context"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// Tests of remove and reset that take long: dead machines, deleted clusters, and a move to another cluster.

func TestPodWithoutControllerBlocksRemoveUnlessForced(t *testing.T) {
	joinTwo(t)
	runPodOn(t, "m1")

	w := mustFail(t, teamA(), "remove", "machines=m1")
	assertContains(t, step(t, w, "m1").Message, "no controller brings back default/runs-until-reset")
	assert.Assert(t, !cordoned(t, "m1"))

	mustSucceed(t, teamA(), "remove", "machines=m1", "force=true")
}

func TestOnlyNodesOfDeadMachinesAreDeleted(t *testing.T) {
	joinTwo(t)
	deployWithBudget(t, "web", "1")
	w := mustFail(t, teamA(), "remove", "machines=m1", "unreachable=true")
	assertContains(t, step(t, w, "m1").Message, "so the machine is alive")
	assert.Assert(t, isReady(readNode(t, "m1")) && !cordoned(t, "m1"))

	runOn(t, "m1", "systemctl", "stop", "kubelet")
	assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), false))
	t.Cleanup(func() { _ = machineNamed(t, "m1").Connect(context.Background(), true) })
	kubectl(t, teamA(), "wait", "--for=condition=Ready=Unknown", "node/m1", "--timeout="+patience.String())
	w = mustSucceed(t, teamA(), "remove", "machines=m1", "unreachable=true")
	assertContains(t, step(t, w, "m1").Message, "reset it before it serves anything else")
	assert.Assert(t, !strings.Contains(kubectl(t, teamA(), "get", "nodes", "-o", "name"), "m1"))
	eventually(t, "the pod runs elsewhere", func() bool { return nodesOfPods(t, "web") == "m5" },
		func() string { return nodesOfPods(t, "web") })

	// The machine is reachable again, and still a node.
	assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), true))
	w = mustSucceed(t, teamA(), "reset", "machines=m1")
	assertContains(t, step(t, w, "summary").Message, "1 of 1 machines reset")
	mustSucceed(t, teamA(), "join", "machines=m1")
	assertJoined(t, "m1")
}

func TestResetMachineOfDeletedCluster(t *testing.T) {
	resetMachines(t, "m1")
	mustSucceed(t, teamA(), "join", "machines=m1")
	runOn(t, "m1", "sed", "-i", `s/"clusterUID":"[^"]*"/"clusterUID":"of-another-cluster"/`,
		"/var/lib/argosy/node.json")
	w := mustFail(t, teamA(), "reset", "machines=m1")
	assertContains(t, step(t, w, "m1").Message, "with the UID of-another-cluster")

	w = mustSucceed(t, teamA(), "reset", "machines=m1", "clusterGone=true")
	assertContains(t, step(t, w, "verify").Message, "1 of 1 machines have left")
	kubectl(t, teamA(), "delete", "node", "m1")
}

func TestRemovedMachineJoinsAnotherCluster(t *testing.T) {
	before := joinTwo(t)
	mustSucceed(t, teamA(), "remove", "machines=m1")

	other := newCluster(t, nil)
	mustSucceed(t, other, "provision")
	other.Machines = []string{"m1"}
	assert.NilError(t, other.ApplyDocuments(t.Context()))
	mustSucceed(t, other, "join")
	eventuallyReady(t, other, "m1")
	kubectl(t, other, "rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout="+patience.String())

	// The last node leaves too: its pods wait for another one.
	mustSucceed(t, other, "remove", "machines=m1")
	assert.DeepEqual(t, strings.Split(inventoryOf(t, "m1"), "\n"), strings.Split(before, "\n"))
	mustSucceed(t, teamA(), "join", "machines=m1")
	assertJoined(t, "m1")
}

func TestDisruptionBudgetBlocksRemove(t *testing.T) {
	joinTwo(t)
	deployWithBudget(t, "only", "1")
	pod := kubectl(t, teamA(), "get", "pods", "-l", "app=only", "-o", "jsonpath={.items[0].metadata.uid}")
	const blocked = "of Deployment only (PDB only allows none: 1 healthy, 1 needed)"

	w := mustSucceed(t, teamA(), "remove", "machines=m1", "dryRun=true")
	assertContains(t, step(t, w, "plan").Message, blocked)

	for _, before := range []bool{false, true} {
		if before {
			kubectl(t, teamA(), "cordon", "m1")
		}
		w = mustFail(t, teamA(), "remove", "machines=m1", "drainTimeout=10s")
		message := step(t, w, "m1").Message
		assertContains(t, message, "after 10s 1 of", blocked)
		assert.Equal(t, strings.Contains(message, "node m1 is uncordoned"), !before, message)
		assert.Equal(t, cordoned(t, "m1"), before)
		assert.Assert(t, isReady(readNode(t, "m1")))
	}
	assert.Equal(t, kubectl(t, teamA(), "get", "pods", "-l", "app=only", "-o", "jsonpath={.items[0].metadata.uid}"),
		pod)
}
