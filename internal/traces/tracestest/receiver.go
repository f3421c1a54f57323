// Package tracestest gives tests a receiver of OpenTelemetry spans: the server of OTLP's own module, over HTTP with its
// own routes and encodings, so that it refuses the requests that a collector would.
package tracestest

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"gotest.tools/v3/assert"
)

// Endpoint is the variable of the environment that names the receiver.
const Endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

// Receiver takes spans by OTLP over HTTP. It is safe for use by many goroutines.
type Receiver struct {
	collector.UnimplementedTraceServiceServer

	// URL of the receiver.
	URL string

	mu       sync.Mutex
	spans    []*otlp.Span
	services map[string]bool
	headers  []http.Header
	requests int
	// held is closed when calls are answered; nil where they are at once.
	held chan struct{}
}

// Start starts a receiver on loopback, which ends with the test, and names it in the environment.
func Start(t *testing.T) *Receiver {
	t.Helper()
	r := &Receiver{services: map[string]bool{}}
	routes := runtime.NewServeMux(runtime.WithMarshalerOption(protobufType, protobuf{&runtime.ProtoMarshaller{}}))
	assert.NilError(t, collector.RegisterTraceServiceHandlerServer(t.Context(), routes, r))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.requests++
		r.headers = append(r.headers, request.Header)
		r.mu.Unlock()
		routes.ServeHTTP(w, request)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(r.Release)
	r.URL = server.URL
	t.Setenv(Endpoint, server.URL)
	return r
}

const protobufType = "application/x-protobuf"

// protobuf is the gateway's encoding under the name that OTLP has for it.
type protobuf struct{ *runtime.ProtoMarshaller }

// ContentType implements runtime.Marshaler.
func (protobuf) ContentType(any) string { return protobufType }

// Hold has the receiver take requests without an answer until Release.
func (r *Receiver) Hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = make(chan struct{})
}

// Release answers the requests that were held.
func (r *Receiver) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != nil {
		close(r.held)
		r.held = nil
	}
}

// Export implements collector.TraceServiceServer.
func (r *Receiver) Export(ctx context.Context, request *collector.ExportTraceServiceRequest) (
	*collector.ExportTraceServiceResponse, error,
) {
	r.mu.Lock()
	held := r.held
	r.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, attribute := range resource.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				r.services[attribute.GetValue().GetStringValue()] = true
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// Spans returns the spans received so far.
func (r *Receiver) Spans() []*otlp.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

// Named returns the span of that name, of which there has to be one alone.
func (r *Receiver) Named(t *testing.T, name string) *otlp.Span {
	t.Helper()
	var found []*otlp.Span
	for _, span := range r.Spans() {
		if span.GetName() == name {
			found = append(found, span)
		}
	}
	assert.Equal(t, len(found), 1, "spans named %q among %d", name, len(r.Spans()))
	return found[0]
}

// Services returns the names of the programs that sent spans, sorted.
func (r *Receiver) Services() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.services))
}

// Headers returns the headers of each request.
func (r *Receiver) Headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.headers)
}

// Requests returns how many requests came, also those that were refused.
func (r *Receiver) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// AssertWhole checks that the spans are trees: each has a name, an end not before its begin, and a parent of the same
// trace that was received and encloses it, but for one root in each trace.
func (r *Receiver) AssertWhole(t *testing.T) {
	t.Helper()
	spans, roots := map[string]*otlp.Span{}, map[string]int{}
	for _, span := range r.Spans() {
		assert.Assert(t, spans[string(span.GetSpanId())] == nil, "%q came twice", span.GetName())
		spans[string(span.GetSpanId())] = span
	}
	for _, span := range spans {
		assert.Assert(t, span.GetName() != "" && len(span.GetSpanId()) == 8 && len(span.GetTraceId()) == 16)
		assert.Assert(t, span.GetEndTimeUnixNano() >= span.GetStartTimeUnixNano(), span.GetName())
		if len(span.GetParentSpanId()) == 0 {
			roots[string(span.GetTraceId())]++
			continue
		}
		parent := spans[string(span.GetParentSpanId())]
		assert.Assert(t, parent != nil, "the parent of %q is missing", span.GetName())
		assert.DeepEqual(t, parent.GetTraceId(), span.GetTraceId())
		assert.Assert(t, span.GetStartTimeUnixNano() >= parent.GetStartTimeUnixNano() &&
			span.GetEndTimeUnixNano() <= parent.GetEndTimeUnixNano(), "%q is not within %q", span.GetName(),
			parent.GetName())
	}
	for _, number := range roots {
		assert.Equal(t, number, 1, "roots of a trace")
	}
}
