package steps

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"gotest.tools/v3/assert"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// cleanMachine is a machine without anything of a node; an operation on it fails.
type cleanMachine struct{ operation.Machine }

func (cleanMachine) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	plan := spec.Status{
		ID:     question.Operations["amd64"].ID,
		Phases: []spec.Phase{{Name: "prove", Outcome: spec.Held, Detail: "nothing is left"}},
	}
	return spec.Facts{Arch: "amd64", Plan: &plan}, nil
}

func openReset(_ context.Context, _, name string) (*reset.Resetter, error) {
	cluster, err := config.Parse(name, []byte("privateNodes: {enabled: true}\n"),
		[]byte("apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: kubeconfig}\nmachines: "+
			"[{name: m1, address: 192.0.2.1}]\n"))
	return &reset.Resetter{
		Cluster: cluster,
		Connect: func(context.Context) (*join.Target, error) { return &join.Target{Client: fake.NewClientset()}, nil },
		Machine: func(config.Machine) operation.Machine { return cleanMachine{} },
	}, err
}

func runReset(t *testing.T, object map[string]string) (plugin.Result, error) {
	t.Helper()
	object["step"] = "reset"
	encoded, err := json.Marshal(object)
	assert.NilError(t, err)
	call, err := plugin.NewCall(plugin.Workflow{Name: "w", Namespace: "team-a", UID: "u"}, "template", encoded)
	assert.NilError(t, err)
	execution, err := resetStep{NewEnv(Openers{Reset: openReset}, slog.New(slog.DiscardHandler))}.Prepare(call)
	if err != nil {
		return plugin.Result{}, err
	}
	return execution.Run(t.Context(), func(string) {})
}

func TestAResetAnswersWithWhatItProved(t *testing.T) {
	result, err := runReset(t, map[string]string{
		"cluster": "a", "machine": "m1", "concurrency": "2",
		"clusterGone": "false",
	})
	assert.NilError(t, err)
	assert.Equal(t, result.Phase, plugin.Succeeded)
	assert.Equal(t, result.Message, "machine m1 was clean already: nothing is left")
	assert.Equal(t, result.Outputs["changed"], "false")
	var outcome reset.Outcome
	assert.NilError(t, json.Unmarshal([]byte(result.Outputs["report"]), &outcome))
	assert.Equal(t, outcome.Machine, "m1")
}

func TestAResetRefusesParametersThatItCannotMean(t *testing.T) {
	for _, tt := range []struct {
		object map[string]string
		says   string
	}{
		{map[string]string{"machine": "m1"}, "name the ConfigMap"},
		{map[string]string{"cluster": "a", "machine": "m2"}, `no machine "m2"`},
		{
			map[string]string{"cluster": "a", "machine": "m1", "clusterGone": "perhaps"},
			`"clusterGone" is "perhaps": give true or false`,
		},
		{
			map[string]string{"cluster": "a", "machine": "m1", "removeVolumes": "1"},
			`"removeVolumes" is "1": give true or false`,
		},
		{map[string]string{"cluster": "a", "machine": "m1", "concurrency": "many"}, "or 0 for the limit"},
		{map[string]string{"cluster": "a", "machines": "m1"}, "machines"},
	} {
		_, err := runReset(t, tt.object)
		assert.ErrorContains(t, err, tt.says)
	}
}
