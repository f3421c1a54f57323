package steps

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/remove"
	"argosy.dev/argosy/pkg/reset"
)

// callStep runs a step against clean machine m1, whose cluster has these nodes.
func callStep(t *testing.T, object map[string]string, nodes ...*corev1.Node) (plugin.Result, error) {
	t.Helper()
	open := func(ctx context.Context, namespace, name string) (*reset.Resetter, error) {
		resetter, err := openReset(ctx, namespace, name)
		if err != nil {
			return nil, err
		}
		client := fake.NewClientset()
		for _, node := range nodes {
			assert.NilError(t, client.Tracker().Add(node))
		}
		resetter.Connect = func(context.Context) (*join.Target, error) { return &join.Target{Client: client}, nil }
		return resetter, nil
	}
	encoded, err := json.Marshal(object)
	assert.NilError(t, err)
	call, err := plugin.NewCall(plugin.Workflow{Name: "w", Namespace: "team-a", UID: "u"}, "template", encoded)
	assert.NilError(t, err)
	for _, step := range All(NewEnv(Openers{Reset: open}, slog.New(slog.DiscardHandler)), nil, nil) {
		if step.Name() == call.Step {
			execution, err := step.Prepare(call)
			if err != nil {
				return plugin.Result{}, err
			}
			return execution.Run(t.Context(), func(string) {})
		}
	}
	return plugin.Result{}, errors.New("no such step")
}

// m1 is the node of machine m1, which never ran.
func m1() *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "m1", UID: "x"}}
}

func TestStepsThatTakeMachinesAwayRefuseWhatTheyCannotMean(t *testing.T) {
	for _, tt := range []struct {
		object map[string]string
		says   string
	}{
		{map[string]string{"step": "remove-plan", "cluster": "a"}, "say which machines"},
		{map[string]string{"step": "remove-plan", "cluster": "a", "machines": " , "}, "or all"},
		{map[string]string{"step": "remove-verify", "cluster": "a"}, "say which machines"},
		{map[string]string{"step": "reset-plan", "cluster": "a"}, "say which machines"},
		{map[string]string{"step": "reset-verify", "cluster": "a", "machines": ","}, "say which machines"},
		{map[string]string{"step": "remove-plan", "cluster": "a", "machines": "m7"}, `no machine "m7"`},
		{map[string]string{"step": "remove-plan", "machines": "m1"}, "name the ConfigMap"},
		{
			map[string]string{"step": "remove-plan", "cluster": "a", "machines": "m1", "concurrency": "many"},
			"or 0 for the limit",
		},
		{
			map[string]string{"step": "remove-plan", "cluster": "a", "machines": "m1", "dryRun": "maybe"},
			`"dryRun" is "maybe"`,
		},
		{map[string]string{"step": "remove-plan", "cluster": "a", "machines": "m1", "drain": "no"}, `"drain" is "no"`},
		{
			map[string]string{"step": "remove", "cluster": "a", "machine": "m1", "unreachable": "yes"},
			`"unreachable" is "yes"`,
		},
		{map[string]string{"step": "remove", "cluster": "a", "machine": "m1", "force": "1"}, `"force" is "1"`},
		{
			map[string]string{"step": "remove", "cluster": "a", "machine": "m1", "drainTimeout": "soon"},
			"such as 90s or 5m",
		},
		{
			map[string]string{"step": "remove", "cluster": "a", "machine": "m1", "drainTimeout": "-1s"},
			"or nothing for drain.timeout",
		},
		{map[string]string{"step": "remove", "cluster": "a", "machine": "m7"}, `no machine "m7"`},
		{map[string]string{"step": "remove", "cluster": "a", "machines": "m1"}, "machines"},
		{
			map[string]string{"step": "reset-plan", "cluster": "a", "machines": "m1", "clusterGone": "perhaps"},
			`"clusterGone" is "perhaps"`,
		},
	} {
		_, err := callStep(t, tt.object)
		assert.ErrorContains(t, err, tt.says)
	}
}

func TestARemovalOfWhatHasLeftFindsNothingToDo(t *testing.T) {
	result, err := callStep(t, map[string]string{"step": "remove-plan", "cluster": "a", "machines": "all"})
	assert.NilError(t, err)
	assert.Equal(t, result.Message, "0 of 1 machines to remove, 1 left already")
	assert.Equal(t, result.Outputs["machines"], "[]")

	result, err = callStep(t, map[string]string{"step": "remove", "cluster": "a", "machine": "m1"})
	assert.NilError(t, err)
	assert.Equal(t, result.Message, "machine m1 was clean already: nothing is left")
	assert.Equal(t, result.Outputs["changed"], "false")

	result, err = callStep(t, map[string]string{"step": "remove-verify", "cluster": "a", "machines": "m1"})
	assert.NilError(t, err)
	assert.Equal(t, result.Phase, plugin.Succeeded)
	assert.Equal(t, result.Message, "1 of 1 machines have left")
	assert.Assert(t, strings.Contains(result.Outputs["table"], "nothing is left"), result.Outputs["table"])
}

func TestThePlanOfARemovalNamesTheNextStep(t *testing.T) {
	result, err := callStep(t, map[string]string{
		"step": "remove-plan", "cluster": "a", "machines": "m1",
		"unreachable": "true",
	}, m1())
	assert.NilError(t, err)
	assert.Equal(t, result.Outputs["machines"], `["m1"]`)
	assert.Equal(t, result.Message, "1 of 1 machines to remove, 0 left already\nafterwards take them out of "+
		"machines in argosy.yaml, or the next join brings them back")
}

func TestARefusedMachineFailsTheDryRunOrItsStep(t *testing.T) {
	alive := m1()
	alive.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for dryRun, phase := range map[string]plugin.Phase{"true": plugin.Failed, "false": plugin.Succeeded} {
		result, err := callStep(t, map[string]string{
			"step": "remove-plan", "cluster": "a", "machines": "m1",
			"unreachable": "true", "dryRun": dryRun,
		}, alive)
		assert.NilError(t, err)
		assert.Equal(t, result.Phase, phase)
		assert.Equal(t, result.Outputs["machines"], `["m1"]`)
		assert.Assert(t, strings.HasPrefix(result.Message, "0 of 1 machines to remove, 0 left already, 1 "+
			"can't:\nm1: the kubelet of node m1 reports"), result.Message)
	}
}

func TestAVerificationNamesWhatHasNotLeft(t *testing.T) {
	for _, step := range []string{"remove-verify", "reset-verify"} {
		result, err := callStep(t, map[string]string{"step": step, "cluster": "a", "machines": "all"}, m1())
		assert.NilError(t, err)
		assert.Equal(t, result.Phase, plugin.Failed)
		assert.Equal(t, result.Message, "0 of 1 machines have left; not so:\nm1: the machine is clean; node: m1 in "+
			"the cluster")
	}
}

func TestAResetWithoutTheClusterDoesNotAskForNodes(t *testing.T) {
	result, err := callStep(t, map[string]string{
		"step": "reset-plan", "cluster": "a", "machines": "all",
		"clusterGone": "true",
	}, m1())
	assert.NilError(t, err)
	assert.Equal(t, result.Message, "0 of 1 machines to reset, 1 left already")
	result, err = callStep(t, map[string]string{"step": "reset-plan", "cluster": "a", "machines": "all"}, m1())
	assert.NilError(t, err)
	assert.Equal(t, result.Outputs["machines"], `["m1"]`)
}

func TestParametersOfTheWorkflowOverrideTheFleetsDrainPolicy(t *testing.T) {
	asked, err := removeParams{DrainTimeout: "90s", Force: "true"}.parse()
	assert.NilError(t, err)
	options := asked.optionsFor(config.Defaults().Fleet.Drain)
	assert.Assert(t, options.Drain && options.Policy.Force && options.Policy.DeleteEmptyDirData)
	assert.Equal(t, options.Policy.Timeout.Duration.String(), "1m30s")

	asked, err = removeParams{}.parse()
	assert.NilError(t, err)
	policy := config.Defaults().Fleet.Drain
	policy.Force = true
	assert.DeepEqual(t, asked.optionsFor(policy), remove.Options{Drain: true, Policy: policy})
}

func TestTheSummaryOfARemovalNamesTheNextStep(t *testing.T) {
	left := []machineResult{{Machine: "m1", Phase: wfv1.NodeSucceeded}}
	stuck := []machineResult{{Machine: "m1", Phase: wfv1.NodeFailed, Message: "a budget forbids it"}}
	assert.Equal(t, summaryMessage("remove", left), "1 of 1 machines removed; take them out of machines in "+
		"argosy.yaml, or the next join brings them back")
	assert.Equal(t, summaryMessage("remove", stuck), "0 of 1 machines removed\nm1 (Failed): a budget forbids it")
	assert.Equal(t, summaryMessage("reset", left), "1 of 1 machines reset")
}

func TestASummaryTellsWhatWasLeftFromWhatWasDone(t *testing.T) {
	machines := []machineResult{
		{Machine: "m1", Phase: wfv1.NodeFailed, Message: "it was rolled back"},
		{Machine: "m2", Phase: wfv1.NodeSucceeded},
		{
			Machine: "m3", Phase: wfv1.NodeSkipped,
			Message: "halted after m1",
		},
	}
	assert.Equal(t, summaryMessage("upgrade", machines),
		"1 of 3 machines upgraded\nm1 (Failed): it was rolled back\nm3 (Skipped): halted after m1")
}
