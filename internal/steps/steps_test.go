package steps_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/steps"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/join"
)

const fleet = `
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines:
  - {name: m1, address: 192.0.2.1}
`

// open makes a Joiner that can't reach any machine, which is all that these tests need.
func open(_ context.Context, _, name string) (*join.Joiner, error) {
	cluster, err := config.Parse(name, []byte("privateNodes: {enabled: true}\n"), []byte(fleet))
	if err != nil {
		return nil, err
	}
	return &join.Joiner{Cluster: cluster, Version: "v1.34.4", Target: &join.Target{Client: fake.NewClientset()}}, nil
}

func openImages(ctx context.Context, namespace, name string) (*images.Importer, error) {
	opened, err := open(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	return &images.Importer{
		Cluster: opened.Cluster, Supply: images.NewSupply(images.Settings{}),
		UID: func(context.Context) (string, error) { return "uid", nil },
	}, nil
}

// workflowOf is a finished workflow with the given plugin nodes.
type workflowOf wfv1.Nodes

func (w workflowOf) Workflow(context.Context, string, string) (*wfv1.Workflow, error) {
	return &wfv1.Workflow{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"argosy.dev/workflow": "join"}},
		Status:     wfv1.WorkflowStatus{Nodes: wfv1.Nodes(w)},
	}, nil
}

func run(t *testing.T, workflows steps.Workflows, object map[string]string) (plugin.Result, error) {
	t.Helper()
	encoded, err := json.Marshal(object)
	assert.NilError(t, err)
	call, err := plugin.NewCall(plugin.Workflow{Name: "w", Namespace: "team-a", UID: "u"}, "template", encoded)
	assert.NilError(t, err)
	for _, step := range steps.All(steps.NewEnv(steps.Openers{Join: open, Images: openImages},
		slog.New(slog.DiscardHandler)), workflows, nil) {
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

func TestBadParametersAreReportedWithTheValuesToGive(t *testing.T) {
	for _, tt := range []struct {
		name   string
		object map[string]string
		says   string
	}{
		{"no cluster", map[string]string{"step": "plan"}, "name the ConfigMap"},
		{"unknown parameter", map[string]string{"step": "plan", "cluster": "a", "machine": "m1"}, "machine"},
		{"unknown machine to plan", map[string]string{"step": "plan", "cluster": "a", "machines": "m2"}, "m1"},
		{
			"unknown machine to join",
			map[string]string{"step": "join", "cluster": "a", "machine": "m2"},
			`no machine "m2"`,
		},
		{"concurrency that is no number", map[string]string{
			"step": "join", "cluster": "a", "machine": "m1",
			"concurrency": "many",
		}, "or 0 for the limit"},
		{
			"negative concurrency",
			map[string]string{"step": "plan", "cluster": "a", "concurrency": "-1"},
			"or 0 for the limit",
		},
		{
			"a dry run that is neither",
			map[string]string{"step": "plan", "cluster": "a", "dryRun": "maybe"},
			"give true or false",
		},
		{"keeping many archives", map[string]string{"step": "backup", "cluster": "a", "keep": "many"}, "or 0 for all"},
		{"keeping less than none", map[string]string{"step": "backup", "cluster": "a", "keep": "-1"}, "or 0 for all"},
		{"a time that is none", map[string]string{
			"step": "kubeconfig", "cluster": "a", "user": "alice",
			"expires": "tomorrow",
		}, "e.g. 24h"},
		{"volumes that may be replaced", map[string]string{
			"step": "restore", "cluster": "a",
			"replaceVolumes": "maybe",
		}, `"replaceVolumes" is "maybe"`},
		{
			"machines that are neither refused nor reset nor kept",
			map[string]string{"step": "deprovision-check", "cluster": "a", "machines": "all"},
			"give one of refuse, reset, keep",
		},
		{"a final backup that is neither", map[string]string{
			"step": "deprovision-remove", "cluster": "a",
			"machines": "refuse", "finalBackup": "no",
		}, `"finalBackup" is "no"`},
		{
			"unknown machine to import into",
			map[string]string{"step": "import-images", "cluster": "a", "machine": "m2"},
			`no machine "m2"`,
		},
		{
			"images that are none",
			map[string]string{"step": "images-plan", "cluster": "a", "images": "/srv, app:v1"},
			`"app:v1": it is neither`,
		},
		{
			"an import on many machines",
			map[string]string{"step": "images-plan", "cluster": "a", "concurrency": "many"},
			"or 0 for the limit",
		},
		{
			"hostile machine",
			map[string]string{"step": "join", "cluster": "a", "machine": "$(reboot)"},
			`no machine "$(reboot)"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := run(t, workflowOf{}, tt.object)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestVerifyFailsWhenAMachineIsNotANode(t *testing.T) {
	result, err := run(t, workflowOf{}, map[string]string{"step": "verify", "cluster": "a", "machines": "all"})
	assert.NilError(t, err)
	assert.Equal(t, result.Phase, plugin.Failed)
	assert.Assert(t, strings.Contains(result.Message, "m1: is not a node of cluster a"), result.Message)
}

func node(machine, phase, message string, second int64) wfv1.NodeStatus {
	return wfv1.NodeStatus{
		Type: wfv1.NodeTypePlugin, Phase: wfv1.NodePhase(phase), Message: message, StartedAt: metav1.Unix(second, 0),
		Inputs: &wfv1.Inputs{Parameters: []wfv1.Parameter{{Name: "machine", Value: wfv1.AnyStringPtr(machine)}}},
	}
}

func TestTheSummaryNamesFailedMachinesWithTheirLastAttempt(t *testing.T) {
	nodes := workflowOf{
		"a": node("m1", "Succeeded", "node m1 is Ready", 1),
		"b": node("m2", "Error", "agent pod lost", 1),
		"c": node("m2", "Failed", "phase containerd: did not start\n  | address in use", 2),
		"d": {Type: wfv1.NodeTypePlugin, Phase: "Succeeded"},
	}
	result, err := run(t, nodes, map[string]string{"step": "summary", "cluster": "a"})
	assert.NilError(t, err)
	assert.Assert(t, strings.HasPrefix(result.Message, "1 of 2 machines joined\n"), result.Message)
	assert.Assert(t, strings.Contains(result.Message, "m2 (Failed): phase containerd") &&
		!strings.Contains(result.Message, "pod lost"), result.Message)
	assert.Assert(t, strings.Contains(result.Outputs["table"], "address in use"), result.Outputs["table"])
}

func TestOfTwoStepsInOneSecondAFailureCounts(t *testing.T) {
	for range 20 { // whatever the order of the map is
		result, err := run(t, workflowOf{
			"a": node("m1", "Succeeded", "received bundle", 1), "b": node("m1", "Failed", "rolled back", 1),
		}, map[string]string{"step": "summary", "cluster": "a"})
		assert.NilError(t, err)
		assert.Assert(t, strings.HasPrefix(result.Message, "0 of 1 machines joined\n"), result.Message)
	}
}

func TestASummaryReportsThatThereWasNoWork(t *testing.T) {
	result, err := run(t, workflowOf{}, map[string]string{"step": "summary", "cluster": "a"})
	assert.NilError(t, err)
	assert.Equal(t, result.Message, "no machine needed work")
}
