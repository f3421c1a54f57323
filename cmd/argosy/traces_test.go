package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/spf13/cobra"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// spansOf are the spans that a command sends, which works on machine m1 in two phases and fails.
func spansOf(t *testing.T) (spans []*otlp.Span, stderr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		var sent collector.ExportTraceServiceRequest
		_ = proto.Unmarshal(body, &sent)
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				spans = append(spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	root := &cobra.Command{Use: "argosy"}
	root.AddCommand(&cobra.Command{Use: "join", RunE: func(command *cobra.Command, _ []string) error {
		do := withTraces(command.Context(), &config.Cluster{Name: "team-a"},
			func(_ config.Machine, progress operation.Progress) (string, error) {
				progress.Report(operation.Event{Activity: operation.ActivityInspect})
				progress.Report(operation.Event{Phase: "kubeadm"})
				return "", errors.New("no route\nmore")
			})
		_, err := do(config.Machine{Name: "m1"}, operation.NoProgress{})
		return err
	}})
	traced(root)
	root.SetArgs([]string{"join"})
	var errors bytes.Buffer
	root.SetErr(&errors)
	root.SilenceErrors, root.SilenceUsage = true, true
	assert.ErrorContains(t, root.ExecuteContext(context.Background()), "no route")
	return spans, errors.String()
}

func TestACommandSendsTheSpansOfItsMachines(t *testing.T) {
	spans, stderr := spansOf(t)
	assert.Equal(t, stderr, "")
	byName := map[string]*otlp.Span{}
	for _, span := range spans {
		byName[span.GetName()] = span
	}
	run, machine := byName["argosy join"], byName["m1"]
	assert.Assert(t, run != nil && machine != nil, "%v", spans)
	assert.DeepEqual(t, machine.GetParentSpanId(), run.GetSpanId())
	assert.DeepEqual(t, machine.GetTraceId(), run.GetTraceId())
	assert.Equal(t, run.GetStatus().GetMessage(), "no route")
	assert.Assert(t, run.GetStartTimeUnixNano() <= machine.GetStartTimeUnixNano())
	assert.Assert(t, run.GetEndTimeUnixNano() >= machine.GetEndTimeUnixNano())
}

func TestACommandWithoutAReceiverIsNotTraced(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	ran := false
	command := &cobra.Command{Use: "argosy", RunE: func(command *cobra.Command, _ []string) error {
		ran = true
		assert.Assert(t, command.Context().Value(tracedKey{}) == nil)
		return nil
	}}
	traced(command)
	command.SetArgs(nil)
	assert.NilError(t, command.ExecuteContext(t.Context()))
	assert.Assert(t, ran)
}
