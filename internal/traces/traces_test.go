package traces_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/traces"
	"argosy.dev/argosy/internal/traces/tracestest"
	"argosy.dev/argosy/pkg/operation"
)

func took(span *otlp.Span) time.Duration {
	return time.Duration(span.GetEndTimeUnixNano() - span.GetStartTimeUnixNano())
}

var began = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// Two processes work for one run: one for the machine, the next one ends the run.
func TestARunIsATreeOfMachinesAndPhases(t *testing.T) {
	r := tracestest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer s3cret")
	first := open(t)
	first.Machine(traces.RunOf("uid"), traces.Done{
		Name: "join m1", Attributes: map[string]string{"machine": "m1", "node": ""},
		Failure: "no space left\n  | last lines",
	}, operation.Timeline{Started: began, Seconds: 10, Phases: []operation.TimedPhase{
		{Name: "inspect", Start: 0, Seconds: 1.5}, {Name: "bundle", Start: 1.5, Seconds: 8.5},
	}})
	assert.NilError(t, first.Close(t.Context()))
	second := open(t)
	second.Run(traces.RunOf("uid"), traces.Done{
		Name: "join w", Began: began.Add(-time.Second), Ended: began.Add(time.Minute),
	})
	assert.NilError(t, second.Close(t.Context()))

	run, machine := r.Named(t, "join w"), r.Named(t, "join m1")
	inspect, bundle := r.Named(t, "inspect"), r.Named(t, "bundle")
	assert.Equal(t, len(r.Spans()), 4)
	for _, span := range r.Spans() {
		assert.DeepEqual(t, span.GetTraceId(), run.GetTraceId())
	}
	assert.Equal(t, len(run.GetParentSpanId()), 0)
	assert.DeepEqual(t, machine.GetParentSpanId(), run.GetSpanId())
	assert.DeepEqual(t, inspect.GetParentSpanId(), machine.GetSpanId())
	assert.DeepEqual(t, bundle.GetParentSpanId(), machine.GetSpanId())
	assert.Equal(t, took(run), 61*time.Second)
	assert.Equal(t, took(machine), 10*time.Second)
	assert.Equal(t, took(inspect), 1500*time.Millisecond)
	assert.Equal(t, took(bundle), 8500*time.Millisecond)
	assert.Equal(t, bundle.GetStartTimeUnixNano(), uint64(began.Add(1500*time.Millisecond).UnixNano()))

	assert.Equal(t, machine.GetStatus().GetCode(), otlp.Status_STATUS_CODE_ERROR)
	assert.Equal(t, machine.GetStatus().GetMessage(), "no space left")
	assert.Equal(t, len(machine.GetAttributes()), 1)
	assert.Equal(t, run.GetStatus().GetCode(), otlp.Status_STATUS_CODE_UNSET)
	assert.Equal(t, r.Headers()[0].Get("Authorization"), "Bearer s3cret")
	assert.DeepEqual(t, r.Services(), []string{"argosy"})
	for _, span := range r.Spans() {
		assert.Assert(t, !strings.Contains(span.String(), "s3cret"))
	}
	r.AssertWhole(t)
}

// Times of a timeline are rounded one by one.
func TestAPhaseEndsWithItsMachineAtTheLatest(t *testing.T) {
	r := tracestest.Start(t)
	tracer, run := open(t), traces.NewRun()
	tracer.Machine(run, traces.Done{Name: "join m1"}, operation.Timeline{
		Started: began, Seconds: 2.001, Phases: []operation.TimedPhase{
			{Name: "inspect", Start: 1, Seconds: 1.002}, {Name: "kubeadm", Start: 2.002, Seconds: 0.001},
		},
	})
	tracer.Run(run, traces.Done{Name: "join", Began: began, Ended: began.Add(time.Minute)})
	assert.NilError(t, tracer.Close(t.Context()))
	r.AssertWhole(t)
	assert.Equal(t, took(r.Named(t, "inspect")), 1001*time.Millisecond)
	assert.Equal(t, took(r.Named(t, "kubeadm")), time.Duration(0))
}

func open(t *testing.T) *traces.Tracer {
	t.Helper()
	tracer, err := traces.New(t.Context(), traces.Program{Name: "argosy", Version: "v0"})
	assert.NilError(t, err)
	assert.Assert(t, tracer != nil)
	return tracer
}

func TestNothingIsSentUnlessAReceiverIsNamed(t *testing.T) {
	for name, set := range map[string][2]string{
		"no endpoint": {"OTEL_EXPORTER_OTLP_ENDPOINT", ""}, "disabled": {"OTEL_SDK_DISABLED", "true"},
		"no exporter": {"OTEL_TRACES_EXPORTER", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			r := tracestest.Start(t)
			t.Setenv(set[0], set[1])
			tracer, err := traces.New(t.Context(), traces.Program{Name: "argosy"})
			assert.NilError(t, err)
			assert.Assert(t, tracer == nil)
			tracer.Run(traces.NewRun(), traces.Done{Name: "x", Began: began, Ended: began})
			tracer.Machine(traces.NewRun(), traces.Done{Name: "x"}, operation.Timeline{})
			assert.NilError(t, tracer.Flush(t.Context()))
			assert.NilError(t, tracer.Close(t.Context()))
			assert.Equal(t, r.Requests(), 0)
		})
	}
}

func TestAnotherProtocolIsRefused(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4317")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	_, err := traces.New(t.Context(), traces.Program{Name: "argosy"})
	assert.ErrorContains(t, err, `protocol "grpc" is not supported: set it to http/protobuf`)
}

// A receiver that does not answer holds up nothing beyond the end of the context.
func TestALostReceiverEndsWithTheContext(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
	tracer := open(t)
	tracer.Run(traces.NewRun(), traces.Done{Name: "x", Began: began, Ended: began})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorContains(t, tracer.Close(ctx), "sending traces")
}

// More spans than the queue holds are lost, and hold up nothing.
func TestAReceiverThatDoesNotAnswerHoldsUpNoMachine(t *testing.T) {
	r := tracestest.Start(t)
	r.Hold()
	tracer := open(t)
	run := traces.NewRun()
	for i := range 5000 {
		tracer.Machine(run, traces.Done{Name: fmt.Sprintf("join m%d", i)}, operation.Timeline{
			Started: began, Seconds: 2, Phases: []operation.TimedPhase{{Name: "kubeadm", Start: 1, Seconds: 1}},
		})
	}
	assert.Equal(t, len(r.Spans()), 0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorContains(t, tracer.Flush(ended), "sending traces")
	r.Release()
	assert.NilError(t, tracer.Close(t.Context()))
	assert.Assert(t, len(r.Spans()) > 0)
}

func TestAReceiverThatRefusesFailsOnlyTheTraces(t *testing.T) {
	refusing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(refusing.Close)
	t.Setenv(tracestest.Endpoint, refusing.URL)
	tracer := open(t)
	tracer.Run(traces.NewRun(), traces.Done{Name: "x", Began: began, Ended: began})
	assert.ErrorContains(t, tracer.Close(t.Context()), "sending traces")
}
