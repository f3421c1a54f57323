package e2e_test

import (
	"context"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// joinTwo makes m1 and m5 the only nodes of team-a, without pods of other tests, and returns the inventory of m1 from
// before.
func joinTwo(t *testing.T) (before string) {
	t.Helper()
	resetMachines(t, allMachines...)
	kubectl(t, teamA(), "delete", "pods", "--all", "--force", "--grace-period=0")
	before = inventoryOf(t, "m1")
	joinByHand(t, "m1", "m5")
	return before
}

// deployWithBudget runs a deployment on m1 whose disruption budget requires one available pod.
func deployWithBudget(t *testing.T, name, replicas string) {
	t.Helper()
	t.Cleanup(func() {
		_, _ = teamA().Kubectl(context.Background(), "delete", "deployment/"+name, "pdb/"+name, "--ignore-not-found",
			"--wait=true")
	})
	kubectl(t, teamA(), "cordon", "m5")
	kubectl(t, teamA(), "create", "deployment", name, "--image=registry.k8s.io/pause:3.10.2", "--replicas="+replicas)
	kubectl(t, teamA(), "rollout", "status", "deployment/"+name, "--timeout="+patience.String())
	kubectl(t, teamA(), "uncordon", "m5")
	kubectl(t, teamA(), "create", "pdb", name, "--selector=app="+name, "--min-available=1")
	kubectl(t, teamA(), "wait", "--for=jsonpath={.status.expectedPods}="+replicas, "pdb/"+name,
		"--timeout="+patience.String())
}

// nodesOfPods returns the nodes of a deployment's pods.
func nodesOfPods(t *testing.T, name string) string {
	t.Helper()
	return kubectl(t, teamA(), "get", "pods", "-l", "app="+name, "-o", "jsonpath={.items[*].spec.nodeName}")
}

func cordoned(t *testing.T, machine string) bool {
	t.Helper()
	return readNode(t, machine).Spec.Unschedulable
}

func TestRemoveRespectsDisruptionBudget(t *testing.T) {
	before := joinTwo(t)
	deployWithBudget(t, "web", "2")
	assert.Equal(t, nodesOfPods(t, "web"), "m1 m1")

	w := mustSucceed(t, teamA(), "remove", "machines=m1", "dryRun=true")
	assertContains(t, step(t, w, "plan").Message, "1 of 1 machines to remove")
	assert.Assert(t, !cordoned(t, "m1") && nodesOfPods(t, "web") == "m1 m1")

	w = mustSucceed(t, teamA(), "remove", "machines=m1")
	message := step(t, w, "m1").Message
	assertContains(t, message, "pods evicted", "node m1 deleted")
	assertContains(t, step(t, w, "verify").Message, "1 of 1 machines have left")
	assertContains(t, step(t, w, "summary").Message, "take them out of machines in argosy.yaml")
	assert.DeepEqual(t, strings.Split(inventoryOf(t, "m1"), "\n"), strings.Split(before, "\n"))
	assert.Equal(t, nodesOfPods(t, "web"), "m5 m5")
	assert.Assert(t, !strings.Contains(kubectl(t, teamA(), "get", "nodes", "-o", "name"), "m1"))

	w = mustSucceed(t, teamA(), "remove", "machines=m1")
	assertContains(t, step(t, w, "plan").Message, "0 of 1 machines to remove, 1 left already")

	joinByHand(t, "m1")
	assertJoined(t, "m1")
}

func TestRemoveAndResetRequireMachines(t *testing.T) {
	for _, template := range []string{"remove", "reset"} {
		w := mustFail(t, teamA(), template, "machines=")
		assertContains(t, step(t, w, "plan").Message, "say which machines")
	}
}
