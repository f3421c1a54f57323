package steps_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/internal/steps"
	"argosy.dev/argosy/pkg/join"
)

// recorded is a host cluster that keeps states, with the steps that write them.
type recorded struct {
	env     *steps.Env
	store   *state.Store
	objects *dynamicfake.FakeDynamicClient
	host    *fake.Clientset
	// nodes is the virtual cluster.
	nodes *fake.Clientset
}

func newRecorded(workflows steps.Workflows) (*recorded, []plugin.Step) {
	r := &recorded{
		objects: dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
			map[schema.GroupVersionResource]string{state.Resource: "ClusterStateList"}),
		host: fake.NewClientset(),
		nodes: fake.NewClientset(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "m1"},
			Status: corev1.NodeStatus{
				NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.34.3"},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		}),
	}
	r.store = state.NewStore(r.objects, r.host)
	log := slog.New(slog.DiscardHandler)
	r.env = steps.NewEnv(steps.Openers{Join: func(ctx context.Context, namespace, name string) (*join.Joiner, error) {
		joiner, err := open(ctx, namespace, name)
		if err == nil {
			joiner.Target.Client, joiner.Target.Version = r.nodes, "v1.34.4"
		}
		return joiner, err
	}}, log)
	r.env.State = state.NewRecorder(r.store, &state.Events{Client: r.host, Log: log}, log)
	return r, steps.All(r.env, workflows, nil)
}

// run runs a step, whose error is not the test's.
func (r *recorded) run(t *testing.T, all []plugin.Step, object map[string]string) error {
	t.Helper()
	encoded, err := json.Marshal(object)
	assert.NilError(t, err)
	call, err := plugin.NewCall(plugin.Workflow{Name: "w", Namespace: "team-a", UID: "u"}, "template", encoded)
	assert.NilError(t, err)
	for _, step := range all {
		if step.Name() == call.Step {
			execution, err := step.Prepare(call)
			assert.NilError(t, err)
			_, err = execution.Run(t.Context(), func(string) {})
			return err
		}
	}
	return errors.New("no such step")
}

func (r *recorded) status(t *testing.T) state.Status {
	t.Helper()
	r.env.State.Flush(t.Context(), "team-a", "a")
	states, err := r.store.List(t.Context(), "team-a")
	assert.NilError(t, err)
	assert.Equal(t, len(states), 1)
	return states[0].Status
}

func (r *recorded) events(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	events, err := client.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	var found []string
	for _, event := range events.Items {
		about := event.InvolvedObject
		found = append(found, fmt.Sprintf("%s %s/%s", event.Reason, about.Kind, about.Name))
	}
	return found
}

func TestAFailedJoinIsInTheStateOfItsCluster(t *testing.T) {
	r, all := newRecorded(nil)
	assert.ErrorContains(t, r.run(t, all, map[string]string{"step": "join", "cluster": "a", "machine": "m2"}), "m2")
	status := r.status(t)
	assert.Equal(t, string(status.Machines[0].State)+" "+status.Machines[0].Operation, "Failed join")
	assert.Assert(t, meta.IsStatusConditionFalse(status.Conditions, state.ConditionReady))
	assert.DeepEqual(t, r.events(t, r.host), []string{"JoinFailed ClusterState/a"})
	assert.Equal(t, status.Totals[0].Operation, "join")
	assert.Equal(t, len(status.Totals[0].Failed), 1)
}

func TestAVerificationRecordsVersionsAndNodes(t *testing.T) {
	r, all := newRecorded(nil)
	assert.NilError(t, r.run(t, all, map[string]string{"step": "verify", "cluster": "a", "machines": "all"}))
	status := r.status(t)
	assert.Equal(t, status.Machines[0].Version, "v1.34.3")
	assert.Equal(t, status.Machines[0].State, state.Ready)
	assert.Equal(t, status.ControlPlaneVersion, "v1.34.4")
	assert.Assert(t, meta.IsStatusConditionTrue(status.Conditions, state.ConditionUpgradeAvailable))
	assert.Equal(t, status.Operations[0].Name, "verify")
}

func TestTheSummarySettlesMachinesOfALostPlugin(t *testing.T) {
	inputs := func(machine string) *wfv1.Inputs {
		return &wfv1.Inputs{Parameters: []wfv1.Parameter{{Name: "machine", Value: wfv1.AnyStringPtr(machine)}}}
	}
	r, all := newRecorded(workflowOf{
		"1": {Type: wfv1.NodeTypePlugin, StartedAt: metav1.Now(), Phase: wfv1.NodeSucceeded, Inputs: inputs("m1")},
		"2": {
			Type: wfv1.NodeTypePlugin, StartedAt: metav1.Now(), Phase: wfv1.NodeFailed, Message: "no disk",
			Inputs: inputs("m2"),
		},
	})
	for _, machine := range []string{"m1", "m2", "m3"} {
		r.env.State.Record("team-a", "a", state.Began(machine, state.OperationJoin, metav1.Now().Time))
	}
	assert.NilError(t, r.run(t, all, map[string]string{"step": "summary", "cluster": "a", "machines": "all"}))
	var rows []string
	for _, row := range r.status(t).Machines {
		rows = append(rows, fmt.Sprintf("%s %s %s", row.Name, row.State, row.Message))
	}
	assert.DeepEqual(t, rows, []string{
		"m1 Ready ", "m2 Failed no disk", "m3 Failed the workflow ended before the operation did",
	})
}

// The state is for others: a host cluster that refuses it changes nothing for the work.
func TestAStateThatCannotBeWrittenFailsNoStep(t *testing.T) {
	r, all := newRecorded(nil)
	deny := func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{}, "", nil)
	}
	r.objects.PrependReactor("*", "*", deny)
	r.host.PrependReactor("*", "*", deny)
	assert.NilError(t, r.run(t, all, map[string]string{"step": "verify", "cluster": "a", "machines": "all"}))
}
