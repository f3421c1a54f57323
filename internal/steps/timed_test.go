package steps

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/plugin"
	runreport "argosy.dev/argosy/internal/report"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// timedReport is output "report" of work on a machine with two phases, that ends with an error or without.
func timedReport(t *testing.T, fails error) (result plugin.Result, fields map[string]json.RawMessage) {
	t.Helper()
	env := NewEnv(Openers{}, slog.New(slog.DiscardHandler))
	work := env.timed(groupCall, "a", func(_ context.Context, _ config.Machine,
		progress operation.Progress,
	) (plugin.Result, error) {
		progress.Report(operation.Event{Activity: operation.ActivityInspect, Detail: "inspecting"})
		time.Sleep(3 * time.Second)
		status := spec.Status{ID: "o", State: spec.Succeeded, Phases: []spec.Phase{{Name: "kubelet", Seconds: 1}}}
		progress.Report(operation.Phases{operation.MachinePhases}.OfMachine(status))
		outputs := map[string]string{"report": `{"version":"v1.34.4"}`}
		return plugin.Result{Phase: plugin.Succeeded, Outputs: outputs}, fails
	})
	shown := ""
	result, err := work(t.Context(), config.Machine{Name: "m1"}, func(text string) { shown = text })
	assert.Equal(t, err, fails)
	assert.Assert(t, shown != "")
	assert.NilError(t, json.Unmarshal([]byte(result.Outputs["report"]), &fields))
	return result, fields
}

func TestAStepReportsTheTimesOfItsPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fields := timedReport(t, nil)
		assert.Equal(t, string(fields["version"]), `"v1.34.4"`)
		var timeline operation.Timeline
		assert.NilError(t, json.Unmarshal(fields["timeline"], &timeline))
		assert.DeepEqual(t, timeline.Phases, []operation.TimedPhase{
			{Name: "inspect", Start: 0, Seconds: 2}, {Name: "kubelet", Start: 2, Seconds: 1},
		})
		assert.Assert(t, fields["failure"] == nil)
	})
}

func TestAFailedStepReportsTheFailureWithItsLastLines(t *testing.T) {
	long := strings.Repeat("x", 5000)
	tail := append(strings.Split(strings.Repeat("older\n", 50), "\n"), "the last line", long)
	failure := &operation.Failure{Machine: "m1", Status: spec.Status{State: spec.Failed, Error: &spec.Error{
		Phase: "kubeadm", Message: long, Tail: tail, Problems: tail,
	}}}
	var result plugin.Result
	var fields map[string]json.RawMessage
	synctest.Test(t, func(t *testing.T) {
		result, fields = timedReport(t, errclass.With(errclass.Permanent, failure))
	})
	var read spec.Error
	assert.NilError(t, json.Unmarshal(fields["failure"], &read))
	assert.Equal(t, read.Phase, "kubeadm")
	assert.Equal(t, len(read.Tail), maxFailureLines)
	assert.Equal(t, read.Tail[maxFailureLines-2], "the last line")
	assert.Assert(t, len(result.Outputs["report"]) < 12<<10, "%d bytes", len(result.Outputs["report"]))
	assert.Assert(t, fields["timeline"] != nil)
}

// unpacked is a file of the ConfigMap in which a summary keeps its report.
func unpacked(t *testing.T, packed []byte) []byte {
	t.Helper()
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	assert.NilError(t, err)
	text, err := io.ReadAll(reader)
	assert.NilError(t, err)
	return text
}

func TestASummaryKeepsTheReportOfTheRun(t *testing.T) {
	client := fake.NewClientset()
	node := wfv1.NodeStatus{
		Type: wfv1.NodeTypePlugin, Phase: wfv1.NodeFailed, Message: "no disk", StartedAt: metav1.Unix(1, 0),
		Inputs: &wfv1.Inputs{Parameters: []wfv1.Parameter{{Name: "machine", Value: wfv1.AnyStringPtr("m1")}}},
		Outputs: &wfv1.Outputs{Parameters: []wfv1.Parameter{{
			Name: "report", Value: wfv1.AnyStringPtr(`{"failure":{"phase":"bundle","message":"no disk"}}`),
		}}},
	}
	env := NewEnv(Openers{}, slog.New(slog.DiscardHandler))
	env.workflows = stored{CompressedNodes: compressed(t, wfv1.Nodes{"a": node})}
	env.records = offload.Store{Client: client}
	call, err := plugin.NewCall(plugin.Workflow{Namespace: "team-a", Name: "w", UID: "u"}, "summarize",
		[]byte(`{"step":"summary","cluster":"a","machines":"all","status":"Failed"}`))
	assert.NilError(t, err)
	execution, err := summaryStep{env}.Prepare(call)
	assert.NilError(t, err)
	result, err := execution.Run(t.Context(), func(string) {})
	assert.NilError(t, err)
	var output struct{ ConfigMap string }
	assert.NilError(t, json.Unmarshal([]byte(result.Outputs["report"]), &output))
	kept, err := client.CoreV1().ConfigMaps("team-a").Get(t.Context(), output.ConfigMap, metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, string(kept.OwnerReferences[0].UID), "u")
	read, err := runreport.Read(unpacked(t, kept.BinaryData["report.json.gz"]))
	assert.NilError(t, err)
	assert.Equal(t, read.Result, "Failed")
	assert.Equal(t, read.Machines[0].Failure.Phase, "bundle")
	assert.Assert(t, is.Contains(string(unpacked(t, kept.BinaryData["report.html.gz"])), "m1: phase bundle"))
}

// crowded keeps no more than a number of bytes.
type crowded struct {
	offload.Store
	most int
	kept []string
}

func (c *crowded) WriteFiles(_ context.Context, _ offload.Owner, _ string, files map[string][]byte) (string, error) {
	size := 0
	for _, text := range files {
		size += len(text)
	}
	if size > c.most {
		return "", errclass.Errorf(errclass.Permanent, "too large")
	}
	for name := range files {
		c.kept = append(c.kept, name)
	}
	return "kept", nil
}

func TestAPageWithoutRoomIsLeftOutOfTheReport(t *testing.T) {
	for most, want := range map[int]string{1 << 20: "report.html report.json", 1000: "report.json", 10: ""} {
		records := &crowded{most: most}
		env := NewEnv(Openers{}, slog.New(slog.DiscardHandler))
		env.records = records
		w, err := stored{}.Workflow(t.Context(), "team-a", "w")
		assert.NilError(t, err)
		name := env.keepReport(t.Context(), groupCall, w, "Succeeded")
		assert.Equal(t, name != "", want != "")
		assert.Equal(t, len(records.kept), len(strings.Fields(want)), "%v", records.kept)
	}
}
