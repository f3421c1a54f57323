package steps

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/traces"
	"argosy.dev/argosy/internal/traces/tracestest"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// A step on a machine and the summary of its workflow make one trace.
func TestARunOfAWorkflowIsOneTrace(t *testing.T) {
	received := tracestest.Start(t)
	env := tracedEnv(t)
	work := env.timed(groupCall, "team-a", func(_ context.Context, _ config.Machine,
		progress operation.Progress,
	) (plugin.Result, error) {
		progress.Report(operation.Event{Activity: operation.ActivityInspect})
		time.Sleep(2 * time.Millisecond)
		progress.Report(operation.Event{Phase: "kubeadm"})
		time.Sleep(2 * time.Millisecond)
		return plugin.Result{}, errors.New("phase kubeadm: no route")
	})
	_, err := work(t.Context(), config.Machine{Name: "m1", NodeName: "m1"}, func(string) {})
	assert.ErrorContains(t, err, "no route")
	endRun(t, env, "Failed")

	var names []string
	byName := map[string]*otlp.Span{}
	for _, span := range received.Spans() {
		names = append(names, span.GetName())
		byName[span.GetName()] = span
	}
	assert.Equal(t, len(names), 4, strings.Join(names, ", "))
	run, machine := byName["join w"], byName["join m1"]
	assert.DeepEqual(t, machine.GetParentSpanId(), run.GetSpanId())
	assert.DeepEqual(t, byName["kubeadm"].GetParentSpanId(), machine.GetSpanId())
	assert.DeepEqual(t, byName["inspect"].GetTraceId(), run.GetTraceId())
	assert.Equal(t, run.GetStatus().GetCode(), otlp.Status_STATUS_CODE_ERROR)
	received.AssertWhole(t)
}

// endRun runs the step summary of the workflow, which sends the span of the run.
func endRun(t *testing.T, env *Env, status string) {
	t.Helper()
	env.workflows = stored{StartedAt: metav1.NewTime(time.Now().Add(-time.Minute)), Phase: wfv1.WorkflowRunning}
	call, err := plugin.NewCall(groupCall.Workflow, "summarize",
		fmt.Appendf(nil, `{"step":"summary","cluster":"a","machines":"all","status":%q}`, status))
	assert.NilError(t, err)
	execution, err := summaryStep{env}.Prepare(call)
	assert.NilError(t, err)
	_, err = execution.Run(t.Context(), func(string) {})
	assert.NilError(t, err)
}

// tracedEnv returns an Env of a process of its own that sends spans.
func tracedEnv(t *testing.T) *Env {
	t.Helper()
	tracer, err := traces.New(t.Context(), traces.Program{Name: "test"})
	assert.NilError(t, err)
	env := NewEnv(Openers{}, slog.New(slog.DiscardHandler))
	env.Traces = tracer
	return env
}

// workUntil works on a machine in phase kubeadm until it is stopped by cause.
func workUntil(t *testing.T, env *Env, machine string, cause error) {
	t.Helper()
	ctx, stop := context.WithCancelCause(t.Context())
	work := env.timed(groupCall, "team-a", func(ctx context.Context, _ config.Machine,
		progress operation.Progress,
	) (plugin.Result, error) {
		progress.Report(operation.Event{Phase: "kubeadm"})
		time.Sleep(2 * time.Millisecond)
		stop(cause)
		return plugin.Result{}, context.Cause(ctx)
	})
	_, err := work(ctx, config.Machine{Name: machine, NodeName: machine}, func(string) {})
	assert.ErrorIs(t, err, cause)
}

func TestAMachineThatWasCancelledIsInTheTraceOfItsRun(t *testing.T) {
	received := tracestest.Start(t)
	env := tracedEnv(t)
	workUntil(t, env, "m1", errors.New("the workflow was stopped"))
	endRun(t, env, "Failed")
	machine := received.Named(t, "join m1")
	assert.Equal(t, machine.GetStatus().GetCode(), otlp.Status_STATUS_CODE_ERROR)
	assert.Equal(t, machine.GetStatus().GetMessage(), "the workflow was stopped")
	assert.DeepEqual(t, received.Named(t, "kubeadm").GetParentSpanId(), machine.GetSpanId())
	assert.Equal(t, len(received.Spans()), 3)
	received.AssertWhole(t)
}

// The first process is told to end while the work goes on; the next one sees its end.
func TestWorkThatGoesOnElsewhereIsSentOnce(t *testing.T) {
	received := tracestest.Start(t)
	first, next := tracedEnv(t), tracedEnv(t)
	workUntil(t, first, "m1", plugin.ErrDetach)
	assert.NilError(t, first.Traces.Close(t.Context()))
	assert.Equal(t, len(received.Spans()), 0)
	workUntil(t, next, "m1", errors.New("no route"))
	endRun(t, next, "Failed")
	received.Named(t, "join m1")
	received.AssertWhole(t)
}

func TestAnUnreachableReceiverFailsNoStep(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	t.Setenv(tracestest.Endpoint, closed.URL)
	env := tracedEnv(t)
	workUntil(t, env, "m1", errors.New("no route")) // its own error
	endRun(t, env, "Failed")
}
