package plugin

import (
	"context"
	"errors"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned/fake"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ktesting "k8s.io/client-go/testing"
)

const (
	inMain   = "wf[1].join(0:m1)"
	inOnExit = "wf.onExit[0].summary"
)

func workflow(change func(*wfv1.Workflow)) *wfv1.Workflow {
	wf := &wfv1.Workflow{ObjectMeta: metav1.ObjectMeta{Name: "wf", Namespace: "team-a", UID: types.UID("u1")}}
	if change != nil {
		change(wf)
	}
	return wf
}

func taskSet(nodes ...string) *wfv1.WorkflowTaskSet {
	set := &wfv1.WorkflowTaskSet{ObjectMeta: metav1.ObjectMeta{Name: "wf", Namespace: "team-a"}}
	set.Spec.Tasks = map[string]wfv1.Template{
		"wf-1": {Plugin: &wfv1.Plugin{Object: wfv1.Object{Value: []byte(`{"slack":{"step":["x"]}}`)}}},
		"wf-2": {HTTP: &wfv1.HTTP{URL: "http://x"}},
	}
	for _, node := range nodes {
		object := wfv1.Object{Value: []byte(`{"argosy":{"machine":"m1","node":"` + node +
			`","attempt":"0","step":"join"}}`)}
		set.Spec.Tasks["id of "+node] = wfv1.Template{Plugin: &wfv1.Plugin{Object: object}}
	}
	return set
}

// TestCancellationFollowsTheTable walks the table in the comment of observation.cancelled against an API.
func TestCancellationFollowsTheTable(t *testing.T) {
	both := taskSet(inMain, inOnExit)
	for name, test := range map[string]struct {
		objects        []runtime.Object
		uid            string
		inMain, onExit string // reasons; empty is wanted
	}{
		"gone":        {nil, "u1", `workflow "wf" is gone`, `workflow "wf" is gone`},
		"gone, tasks": {[]runtime.Object{both}, "u1", `workflow "wf" is gone`, `workflow "wf" is gone`},
		"another's name": {
			[]runtime.Object{workflow(nil), both},
			"u0", `workflow "wf" is gone`,
			`workflow "wf" is gone`,
		},
		"deleting": {[]runtime.Object{workflow(func(wf *wfv1.Workflow) {
			wf.DeletionTimestamp, wf.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, []string{"x/y"}
		}), both}, "u1", `workflow "wf" is being deleted`, `workflow "wf" is being deleted`},
		"completed": {[]runtime.Object{workflow(func(wf *wfv1.Workflow) {
			wf.Labels = map[string]string{"workflows.argoproj.io/completed": "true"}
		}), both}, "u1", `workflow "wf" has ended`, `workflow "wf" has ended`},
		"labelled, not completed": {[]runtime.Object{workflow(func(wf *wfv1.Workflow) {
			wf.Labels = map[string]string{"workflows.argoproj.io/completed": "false"}
		}), both}, "u1", "", ""},
		"terminated": {
			[]runtime.Object{workflow(func(wf *wfv1.Workflow) { wf.Spec.Shutdown = "Terminate" }), both},
			"u1",
			`workflow "wf" was terminated`, `workflow "wf" was terminated`,
		},
		"terminated and completed": {[]runtime.Object{workflow(func(wf *wfv1.Workflow) {
			wf.Spec.Shutdown, wf.Labels = "Terminate", map[string]string{"workflows.argoproj.io/completed": "true"}
		}), both}, "u1", `workflow "wf" was terminated`, `workflow "wf" was terminated`},
		"stopped and completed": {[]runtime.Object{workflow(func(wf *wfv1.Workflow) {
			wf.Spec.Shutdown, wf.Labels = "Stop", map[string]string{"workflows.argoproj.io/completed": "true"}
		}), both}, "u1", `workflow "wf" has ended`, `workflow "wf" has ended`},
		"stopped": {
			[]runtime.Object{workflow(func(wf *wfv1.Workflow) { wf.Spec.Shutdown = "Stop" }), both},
			"u1",
			`workflow "wf" was stopped`, "",
		},
		"stopped, exit step ended": {
			[]runtime.Object{
				workflow(func(wf *wfv1.Workflow) { wf.Spec.Shutdown = "Stop" }),
				taskSet(inMain),
			},
			"u1",
			`workflow "wf" was stopped`, `step "wf.onExit[0].summary" was ended in workflow "wf"`,
		},
		"step ended by hand": {
			[]runtime.Object{workflow(nil), taskSet(inOnExit)},
			"u1",
			`step "wf[1].join(0:m1)" was ended in workflow "wf"`, "",
		},
		"listed":     {[]runtime.Object{workflow(nil), both}, "u1", "", ""},
		"no TaskSet": {[]runtime.Object{workflow(nil)}, "u1", "", ""},
		"suspended": {[]runtime.Object{workflow(func(wf *wfv1.Workflow) {
			suspended := true
			wf.Spec.Suspend = &suspended
		}), both}, "u1", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			reader := argoObserver{fake.NewSimpleClientset(test.objects...)}
			from := Workflow{Name: "wf", Namespace: "team-a", UID: test.uid}
			seen, err := reader.observe(t.Context(), from)
			assert.NilError(t, err)
			for node, want := range map[string]string{inMain: test.inMain, inOnExit: test.onExit} {
				reason, cancelled := seen.cancelled(Call{Workflow: from, Step: "join", Node: node, Attempt: "0"})
				assert.Equal(t, reason, want)
				assert.Equal(t, cancelled, want != "")
			}
		})
	}
}

func TestAnotherAttemptOfAStepIsAnotherTask(t *testing.T) {
	seen, err := argoObserver{fake.NewSimpleClientset(workflow(nil), taskSet(inMain))}.
		observe(t.Context(), Workflow{Name: "wf", Namespace: "team-a", UID: "u1"})
	assert.NilError(t, err)
	_, cancelled := seen.cancelled(Call{Step: "join", Node: inMain, Attempt: "1"})
	assert.Assert(t, cancelled)
}

func TestOnlyTheWorkflowsOwnExitHandlerOutlivesAStop(t *testing.T) {
	for node, want := range map[string]bool{
		"wf.onExit":                  true,
		"wf.onExit[0].summary":       true,
		"wf.onExit(0)":               true,
		"wf.onExit.a":                true,
		"wf.onExitement[0].a":        false,
		"wf[0].a":                    false,
		"wf[0].a.onExit":             false,
		"wf2.onExit[0].summary":      false,
		"wf":                         false,
		"":                           false,
		"wf[0].join(0:name:.onExit)": false,
	} {
		assert.Equal(t, underExit(Call{Workflow: Workflow{Name: "wf"}, Node: node}), want, node)
	}
}

func TestAnErrorOfTheAPICancelsNothing(t *testing.T) {
	for resource, object := range map[string]*wfv1.Workflow{
		"workflows":        workflow(nil),
		"workflowtasksets": workflow(func(wf *wfv1.Workflow) { wf.Spec.Shutdown = "Terminate" }),
	} {
		argo := fake.NewSimpleClientset(object)
		argo.PrependReactor("get", resource, func(ktesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("forbidden")
		})
		from := Workflow{Name: "wf", Namespace: "team-a", UID: "u1"}
		seen, err := argoObserver{argo}.observe(context.Background(), from)
		assert.Assert(t, is.ErrorContains(err, "forbidden"))
		_, cancelled := seen.cancelled(Call{Workflow: from, Step: "join", Node: inMain})
		assert.Equal(t, cancelled, resource == "workflowtasksets", "what was seen before the error still counts")
	}
}
