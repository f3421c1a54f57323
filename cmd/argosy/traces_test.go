package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/traces/tracestest"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// runTracedCommand runs a command that works on machine m1 in two phases and fails.
func runTracedCommand(t *testing.T) (stderr string) {
	t.Helper()
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
	return errors.String()
}

func TestACommandSendsTheSpansOfItsMachines(t *testing.T) {
	received := tracestest.Start(t)
	assert.Equal(t, runTracedCommand(t), "")
	run, machine := received.Named(t, "argosy join"), received.Named(t, "m1")
	assert.DeepEqual(t, machine.GetParentSpanId(), run.GetSpanId())
	assert.DeepEqual(t, machine.GetTraceId(), run.GetTraceId())
	assert.Equal(t, run.GetStatus().GetMessage(), "no route")
	received.AssertWhole(t)
}

func TestAnUnreachableReceiverIsNamedAndFailsNoCommand(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	t.Setenv(tracestest.Endpoint, closed.URL)
	stderr := runTracedCommand(t) // it has its own error
	assert.Assert(t, strings.Contains(stderr, "sending traces"), stderr)
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
