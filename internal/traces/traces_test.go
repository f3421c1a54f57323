package traces_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/internal/traces"
	"argosy.dev/argosy/pkg/operation"
)

// receiver takes spans by OTLP over HTTP, as a collector does.
type receiver struct {
	mu      sync.Mutex
	bodies  [][]byte
	headers []http.Header
	spans   []*otlp.Span
}

// startReceiver starts a receiver on loopback and names it in the environment.
func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if request.Header.Get("Content-Encoding") == "gzip" {
			unpacked, _ := gzip.NewReader(bytes.NewReader(body))
			body, err = io.ReadAll(unpacked)
		}
		var sent collector.ExportTraceServiceRequest
		if err != nil || request.URL.Path != "/v1/traces" || proto.Unmarshal(body, &sent) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.bodies, r.headers = append(r.bodies, body), append(r.headers, request.Header)
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				r.spans = append(r.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	return r
}

func (r *receiver) named(t *testing.T, name string) *otlp.Span {
	t.Helper()
	for _, span := range r.spans {
		if span.GetName() == name {
			return span
		}
	}
	t.Fatalf("span %q was not received", name)
	return nil
}

func took(span *otlp.Span) time.Duration {
	return time.Duration(span.GetEndTimeUnixNano() - span.GetStartTimeUnixNano())
}

var began = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// Two processes work for one run: one for the machine, the next one ends the run.
func TestARunIsATreeOfMachinesAndPhases(t *testing.T) {
	r := startReceiver(t)
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

	run, machine := r.named(t, "join w"), r.named(t, "join m1")
	inspect, bundle := r.named(t, "inspect"), r.named(t, "bundle")
	assert.Equal(t, len(r.spans), 4)
	for _, span := range r.spans {
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
	assert.Equal(t, r.headers[0].Get("Authorization"), "Bearer s3cret")
	for _, body := range r.bodies {
		assert.Assert(t, !bytes.Contains(body, []byte("s3cret")))
		assert.Assert(t, is.Contains(string(body), "argosy"))
	}
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
			r := startReceiver(t)
			t.Setenv(set[0], set[1])
			tracer, err := traces.New(t.Context(), traces.Program{Name: "argosy"})
			assert.NilError(t, err)
			assert.Assert(t, tracer == nil)
			tracer.Run(traces.NewRun(), traces.Done{Name: "x", Began: began, Ended: began})
			tracer.Machine(traces.NewRun(), traces.Done{Name: "x"}, operation.Timeline{})
			assert.NilError(t, tracer.Close(t.Context()))
			assert.Equal(t, len(r.spans), 0)
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
