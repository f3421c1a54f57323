package e2e_test

import (
	"context"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// leaves submits a template that takes machines away, and waits for its end.
func leaves(t *testing.T, template string, parameters ...string) *wfv1.Workflow {
	t.Helper()
	args := []string{"submit", "--from", "workflowtemplate/" + template, "-p", "cluster=" + site.Cluster, "-o", "name"}
	for _, parameter := range parameters {
		args = append(args, "-p", parameter)
	}
	out, err := env.Argo(t.Context(), args...)
	assert.NilError(t, err)
	return finished(t, strings.TrimSpace(out))
}

func team(t *testing.T, args ...string) string {
	t.Helper()
	out, err := env.TeamKubectl(t.Context(), args...)
	assert.NilError(t, err)
	return strings.TrimSpace(out)
}

// pair has m1 and m5 be the only nodes of team-a, without a pod of another test, and returns what m1 was before.
func pair(t *testing.T) (before string) {
	t.Helper()
	clean(t, all...)
	team(t, "delete", "pods", "--all", "--force", "--grace-period=0")
	before = inventoryOf(t, "m1")
	joins(t, "m1,m5")
	return before
}

// guarded has so many pods of a deployment run on m1, of which one must always be healthy.
func guarded(t *testing.T, name, replicas string) {
	t.Helper()
	t.Cleanup(func() {
		_, _ = env.TeamKubectl(context.Background(), "delete", "deployment/"+name, "pdb/"+name, "--ignore-not-found",
			"--wait=true")
	})
	team(t, "cordon", "m5")
	team(t, "create", "deployment", name, "--image=registry.k8s.io/pause:3.10.1", "--replicas="+replicas)
	team(t, "rollout", "status", "deployment/"+name, "--timeout="+patience.String())
	team(t, "uncordon", "m5")
	team(t, "create", "pdb", name, "--selector=app="+name, "--min-available=1")
	team(t, "wait", "--for=jsonpath={.status.expectedPods}="+replicas, "pdb/"+name, "--timeout="+patience.String())
}

// placed are the nodes of a deployment's pods.
func placed(t *testing.T, name string) string {
	t.Helper()
	return team(t, "get", "pods", "-l", "app="+name, "-o", "jsonpath={.items[*].spec.nodeName}")
}

func cordoned(t *testing.T, machine string) bool {
	t.Helper()
	return readNode(t, machine).Spec.Unschedulable
}

func TestAMachineIsRemovedWithinItsPodsBudgetAndIsAsItWas(t *testing.T) {
	before := pair(t)
	guarded(t, "web", "2")
	assert.Equal(t, placed(t, "web"), "m1 m1")

	w := leaves(t, "remove", "machines=m1", "dryRun=true")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "plan").Message, "1 of 1 machines to remove"), describe(w))
	assert.Assert(t, !cordoned(t, "m1") && placed(t, "web") == "m1 m1")

	w = leaves(t, "remove", "machines=m1")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	message := stepOf(t, w, "m1").Message
	assert.Assert(t, strings.Contains(message, "pods evicted") && strings.Contains(message, "node m1 deleted"),
		describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "verify").Message, "1 of 1 machines have left"), describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "summary").Message, "take them out of machines in argosy.yaml"),
		describe(w))
	assert.DeepEqual(t, strings.Split(inventoryOf(t, "m1"), "\n"), strings.Split(before, "\n"))
	assert.Equal(t, placed(t, "web"), "m5 m5")
	assert.Assert(t, !strings.Contains(team(t, "get", "nodes", "-o", "name"), "m1"))

	w = leaves(t, "remove", "machines=m1")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "plan").Message, "0 of 1 machines to remove, 1 have left already"),
		describe(w))

	joins(t, "m1")
	assertJoined(t, "m1")
}

func TestWhatTakesMachinesAwayIsToldWhich(t *testing.T) {
	for _, template := range []string{"remove", "reset"} {
		w := leaves(t, template, "machines=")
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
		assert.Assert(t, strings.Contains(step(t, w, "plan").Message, "say which machines"), describe(w))
	}
}
