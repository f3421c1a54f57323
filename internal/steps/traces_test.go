package steps

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/traces"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// otlpReceiver starts a receiver of spans on loopback, names it in the environment, and returns the spans received.
func otlpReceiver(t *testing.T) (spans func() []*otlp.Span) {
	t.Helper()
	var mu sync.Mutex
	var received []*otlp.Span
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		var sent collector.ExportTraceServiceRequest
		_ = proto.Unmarshal(body, &sent)
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				received = append(received, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	return func() []*otlp.Span {
		mu.Lock()
		defer mu.Unlock()
		return received
	}
}

// A step on a machine and the summary of its workflow make one trace.
func TestARunOfAWorkflowIsOneTrace(t *testing.T) {
	received := otlpReceiver(t)
	tracer, err := traces.New(t.Context(), traces.Program{Name: "test"})
	assert.NilError(t, err)
	env := NewEnv(Openers{}, slog.New(slog.DiscardHandler))
	env.Traces = tracer
	work := env.timed(groupCall, "team-a", func(_ context.Context, _ config.Machine,
		progress operation.Progress,
	) (plugin.Result, error) {
		progress.Report(operation.Event{Activity: operation.ActivityInspect})
		time.Sleep(2 * time.Millisecond)
		progress.Report(operation.Event{Phase: "kubeadm"})
		time.Sleep(2 * time.Millisecond)
		return plugin.Result{}, errors.New("phase kubeadm: no route")
	})
	_, err = work(t.Context(), config.Machine{Name: "m1", NodeName: "m1"}, func(string) {})
	assert.ErrorContains(t, err, "no route")
	env.workflows = stored{StartedAt: metav1.NewTime(time.Now().Add(-time.Minute)), Phase: wfv1.WorkflowRunning}
	call, err := plugin.NewCall(groupCall.Workflow, "summarize",
		[]byte(`{"step":"summary","cluster":"a","machines":"all","status":"Failed"}`))
	assert.NilError(t, err)
	execution, err := summaryStep{env}.Prepare(call)
	assert.NilError(t, err)
	_, err = execution.Run(t.Context(), func(string) {})
	assert.NilError(t, err)

	var names []string
	byName := map[string]*otlp.Span{}
	for _, span := range received() {
		names = append(names, span.GetName())
		byName[span.GetName()] = span
	}
	assert.Equal(t, len(names), 4, strings.Join(names, ", "))
	run, machine := byName["join w"], byName["join m1"]
	assert.DeepEqual(t, machine.GetParentSpanId(), run.GetSpanId())
	assert.DeepEqual(t, byName["kubeadm"].GetParentSpanId(), machine.GetSpanId())
	assert.DeepEqual(t, byName["inspect"].GetTraceId(), run.GetTraceId())
	assert.Equal(t, run.GetStatus().GetCode(), otlp.Status_STATUS_CODE_ERROR)
	assert.Assert(t, run.GetEndTimeUnixNano() >= machine.GetEndTimeUnixNano())
}
