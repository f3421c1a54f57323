// Package traces sends the times of a run as OpenTelemetry spans, so that a slow machine can be seen as a picture: one
// span for the run, below it one for each machine, and below that one for each phase. It sends nothing unless the
// standard environment variables name a receiver of OTLP.
package traces

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// Tracer sends spans. Nil is a Tracer that sends none. It is safe for use by many goroutines.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	exporter *noting
}

// Program is the program that sends, as the receiver shows it unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES tell
// otherwise.
type Program struct{ Name, Version string }

// New returns the Tracer that the environment asks for, nil for none. The receiver's address, its certificates, headers
// and timeout, and the sampler are those of OpenTelemetry's variables; the protocol is http/protobuf alone.
func New(ctx context.Context, program Program) (*Tracer, error) {
	if !wanted() {
		return nil, nil //nolint:nilnil // a nil Tracer sends nothing
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := os.Getenv(name); protocol != "" && protocol != "http/protobuf" {
			return nil, errclass.Errorf(errclass.Configuration, "reading %s: protocol %q is not supported: set it to "+
				"http/protobuf, and the endpoint to the receiver's port for it, usually 4318", name, protocol)
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("setting up traces: %w", err)
	}
	described, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", program.Name), attribute.String("service.version", program.Version),
	), resource.WithFromEnv())
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	noting := &noting{SpanExporter: exporter}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(noting), sdktrace.WithResource(described),
		sdktrace.WithIDGenerator(ids{}))
	return &Tracer{provider: provider, tracer: provider.Tracer("argosy.dev/argosy"), exporter: noting}, nil
}

// noting is an exporter that keeps the last error for Flush and Close. The SDK would print it to the process's log, and
// not return it.
type noting struct {
	sdktrace.SpanExporter

	mu   sync.Mutex
	last error
}

// ExportSpans sends spans. It returns nil also where that failed.
func (n *noting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := n.SpanExporter.ExportSpans(ctx, spans)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.last = err
	}
	return nil
}

// take returns the last error since the last call.
func (n *noting) take() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.last
	n.last = nil
	return last
}

// wanted reports whether the environment names a receiver.
func wanted() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// flushTimeout bounds the wait for the receiver at the end of a run.
const flushTimeout = 5 * time.Second

// Flush sends the spans left, and returns after flushTimeout at the latest.
func (t *Tracer) Flush(ctx context.Context) error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := cmp.Or(t.provider.ForceFlush(ctx), t.exporter.take()); err != nil {
		return fmt.Errorf("sending traces: %w", err)
	}
	return nil
}

// Close sends the spans left. It returns when they are sent or ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := cmp.Or(t.provider.Shutdown(ctx), t.exporter.take()); err != nil {
		return fmt.Errorf("sending traces: %w", err)
	}
	return nil
}

// Run identifies the run of a workflow or of a command.
type Run struct {
	context trace.SpanContext
}

// RunOf returns the run with that identity, such as the UID of a Workflow. All processes that work for it know by that
// the same trace.
func RunOf(identity string) Run {
	digest := sha256.Sum256([]byte("run of argosy\n" + identity))
	return Run{trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(digest[:16]), SpanID: trace.SpanID(digest[16:24]), TraceFlags: trace.FlagsSampled,
		Remote: true,
	})}
}

// NewRun returns a run of this process alone.
func NewRun() Run { return RunOf(rand.Text()) }

// Done is how the work behind a span went.
type Done struct {
	// Name of the span, e.g. "join" of a run or of a machine.
	Name string
	// Attributes by name; those without a value are left out. They hold no secrets.
	Attributes map[string]string
	Began      time.Time
	Ended      time.Time
	// Failure is the first line of the reason; empty for a success.
	Failure string
}

// FailureOf returns the Failure of an error, empty for nil.
func FailureOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Run sends the span of a run.
func (t *Tracer) Run(run Run, done Done) {
	if t == nil {
		return
	}
	_, span := t.start(context.WithValue(context.Background(), runKey{}, run), done)
	finish(span, done)
}

// Machine sends the span of work on a machine, and one for each of its phases.
func (t *Tracer) Machine(run Run, done Done, timeline operation.Timeline) {
	if t == nil {
		return
	}
	done.Began, done.Ended = timeline.Started, timeline.Ended()
	ctx, span := t.start(trace.ContextWithRemoteSpanContext(context.Background(), run.context), done)
	for _, phase := range timeline.Phases {
		// Times are to the millisecond, and rounded: a phase must not begin or end after its machine.
		began := earlier(timeline.Begin(phase), done.Ended)
		took := time.Duration(phase.Seconds * float64(time.Second))
		of := Done{Name: phase.Name, Began: began, Ended: earlier(began.Add(took), done.Ended)}
		_, span := t.start(ctx, of)
		finish(span, of)
	}
	finish(span, done)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (t *Tracer) start(ctx context.Context, done Done) (context.Context, trace.Span) {
	attributes := make([]attribute.KeyValue, 0, len(done.Attributes))
	for name, value := range done.Attributes {
		if value != "" {
			attributes = append(attributes, attribute.String("argosy."+name, value))
		}
	}
	return t.tracer.Start(ctx, done.Name, trace.WithTimestamp(done.Began), trace.WithAttributes(attributes...))
}

func finish(span trace.Span, done Done) {
	if done.Failure != "" {
		first, _, _ := strings.Cut(done.Failure, "\n")
		span.SetStatus(codes.Error, first)
	}
	span.End(trace.WithTimestamp(done.Ended))
}

// runKey is the key of the Run whose own span begins, in a context.
type runKey struct{}

// ids gives the span of a run its own identity, and all other spans random ones.
type ids struct{}

// NewIDs implements sdktrace.IDGenerator for spans without a parent.
func (i ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if run, known := ctx.Value(runKey{}).(Run); known {
		return run.context.TraceID(), run.context.SpanID()
	}
	var id trace.TraceID
	_, _ = rand.Read(id[:])
	return id, i.NewSpanID(ctx, id)
}

// NewSpanID implements sdktrace.IDGenerator for spans with a parent.
func (ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	_, _ = rand.Read(id[:])
	return id
}
