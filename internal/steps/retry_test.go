package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// startedAt is a workflow that was started or retried then.
type startedAt time.Time

func (s startedAt) Workflow(context.Context, string, string) (*wfv1.Workflow, error) {
	return &wfv1.Workflow{Status: wfv1.WorkflowStatus{StartedAt: metav1.Time{Time: time.Time(s)}}}, nil
}

// verifyAt runs step upgrade-verify in a workflow that was started or retried at began. Machine m1 failed in run ran.
func verifyAt(t *testing.T, began time.Time, ran, rolled string) (plugin.Result, error) {
	t.Helper()
	return verifyWithin(t, "", began, ran, rolled)
}

// verifyWithin is verifyAt with a window; empty for none.
func verifyWithin(t *testing.T, window string, began time.Time, ran, rolled string) (plugin.Result, error) {
	t.Helper()
	open := func(context.Context, string, string) (*upgrade.Upgrader, error) {
		cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte("apiVersion: "+
			"argosy.dev/v1alpha1\nkind: Fleet\nssh: {trustOnFirstUse: true}\nmachines: [{name: m1, address: "+
			"192.0.2.1}]\n"))
		assert.NilError(t, err)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "m1", Annotations: map[string]string{
			upgrade.Annotation: fmt.Sprintf(`{"rollout":"u","run":%q,"state":"failed","reason":"no disk"}`, ran),
		}}}
		node.Status.NodeInfo.KubeletVersion = "v1.33.13"
		return &upgrade.Upgrader{Joiner: &join.Joiner{
			Cluster: cluster, Version: "v1.34.4",
			Target: &join.Target{Client: fake.NewClientset(node), Version: "v1.34.4"},
		}}, nil
	}
	encoded, err := json.Marshal(map[string]string{
		"step": "upgrade-verify", "cluster": "team-a", "version": "v1.34.4", "machines": "all", "run": rolled,
		"rollout": `{"waves":[{"name":"1","machines":["m1"]}],"maxUnavailable":1}`,
		"window":  window, "started": began.Add(-time.Hour).UTC().Format(time.RFC3339),
	})
	assert.NilError(t, err)
	call, err := plugin.NewCall(plugin.Workflow{Name: "w", Namespace: "team-a", UID: "u"}, "verify", encoded)
	assert.NilError(t, err)
	env := NewEnv(Openers{Upgrade: open}, slog.New(slog.DiscardHandler))
	for _, step := range All(env, startedAt(began), nil) {
		if step.Name() == call.Step {
			execution, err := step.Prepare(call)
			assert.NilError(t, err)
			return execution.Run(t.Context(), func(string) {})
		}
	}
	t.Fatal("no such step")
	return plugin.Result{}, nil
}

func TestARetriedWorkflowIsGivenTheMachinesThatItLeft(t *testing.T) {
	began := time.Date(2026, time.March, 1, 1, 0, 0, 0, time.UTC)
	const first, second = "2026-03-01T01:00:00Z", "2026-03-01T02:00:00Z"
	_, err := verifyAt(t, began, first, "")
	assert.ErrorContains(t, err, "m1: no disk")

	result, err := verifyAt(t, began.Add(time.Hour), first, "")
	assert.NilError(t, err)
	assert.Equal(t, result.Outputs["run"], second)
	var again rollout.Plan
	assert.NilError(t, json.Unmarshal([]byte(result.Outputs["rollout"]), &again))
	assert.DeepEqual(t, again.Waves, []rollout.Wave{{Name: "1", Machines: []string{"m1"}}})
	assert.Equal(t, result.Outputs["waves"], encode(again.Waves))

	// What this run has had upgraded before is not upgraded a third time, whatever became of it.
	_, err = verifyAt(t, began.Add(time.Hour), first, second)
	assert.ErrorContains(t, err, "0 of 1 machines are Ready")
}

func TestAWindowCountsFromTheLastStartOfTheWorkflow(t *testing.T) {
	created := time.Date(2026, time.March, 1, 1, 0, 0, 0, time.UTC)
	in := upgradeInput{Window: "4h", Started: created.Format(time.RFC3339)}
	for _, test := range []struct{ begun, until time.Time }{
		{time.Time{}, created.Add(4 * time.Hour)},
		{created.Add(24 * time.Hour), created.Add(28 * time.Hour)}, // it waited for the mutex, or was retried
	} {
		until, err := in.until(test.begun)
		assert.NilError(t, err)
		assert.Assert(t, until.Equal(test.until), until)
	}
}

// A retried workflow has a window of its own, from when its first step could work.
func TestTheMachinesOfARetryHaveAWindowOfTheirOwn(t *testing.T) {
	before := time.Now()
	began := before.Add(-48 * time.Hour).Truncate(time.Second)
	result, err := verifyWithin(t, "4h", began.Add(time.Hour), began.UTC().Format(time.RFC3339), "")
	assert.NilError(t, err)
	var again rollout.Plan
	assert.NilError(t, json.Unmarshal([]byte(result.Outputs["rollout"]), &again))
	assert.Assert(t, !again.Until.Before(before.Add(4*time.Hour)), again.Until)
}

func TestAVersionIsTakenWithoutItsV(t *testing.T) {
	for text, want := range map[string]string{
		"v1.34.4": "v1.34.4", "1.34.4": "v1.34.4",
		"v1.35.0-rc.1": "v1.35.0-rc.1",
	} {
		parsed, err := parseVersion(text)
		assert.NilError(t, err)
		assert.Equal(t, parsed, want)
	}
	for _, text := range []string{"newest", "v1.34", "control plane"} {
		_, err := parseVersion(text)
		assert.ErrorContains(t, err, "give a version such as v1.34.4, control-plane, latest-patch, or nothing")
	}
}

// In the template's condition, any other word than true would leave the backup out.
func TestABackupIsNotLeftOutForAnotherWord(t *testing.T) {
	call, err := plugin.NewCall(plugin.Workflow{Name: "w", Namespace: "team-a", UID: "u"}, "plan",
		[]byte(`{"step":"upgrade-plan","cluster":"a","backup":"yes"}`))
	assert.NilError(t, err)
	_, err = upgradePlanStep{}.Prepare(call)
	assert.Error(t, err, `the parameter "backup" is "yes": give true or false`)
}
