package steps

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/plugin"
)

// stored is a workflow as the API server has it.
type stored wfv1.WorkflowStatus

func (s stored) Workflow(_ context.Context, namespace, name string) (*wfv1.Workflow, error) {
	return &wfv1.Workflow{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels: map[string]string{workflowLabel: "join"},
		},
		Status: wfv1.WorkflowStatus(s),
	}, nil
}

// compressed encodes nodes as Argo does where a workflow is larger than 1 MiB: base64 of gzip of JSON.
func compressed(t *testing.T, nodes wfv1.Nodes) string {
	t.Helper()
	text, err := json.Marshal(nodes)
	assert.NilError(t, err)
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, err = writer.Write(text)
	assert.NilError(t, err)
	assert.NilError(t, writer.Close())
	return base64.StdEncoding.EncodeToString(packed.Bytes())
}

func TestASummaryOfALargeWorkflow(t *testing.T) {
	nodes := wfv1.Nodes{"a": {
		Type: wfv1.NodeTypePlugin, Phase: wfv1.NodeFailed, Message: "no disk", StartedAt: metav1.Unix(1, 0),
		Inputs: &wfv1.Inputs{Parameters: []wfv1.Parameter{{Name: "machine", Value: wfv1.AnyStringPtr("m1")}}},
	}}
	for name, test := range map[string]struct {
		status stored
		want   string
	}{
		"compressed": {stored{CompressedNodes: compressed(t, nodes)}, "0 of 1 machines joined\nm1 (Failed): no disk"},
		"offloaded":  {stored{OffloadNodeStatusVersion: "fnv:1"}, "`argo get -n team-a w`"},
	} {
		t.Run(name, func(t *testing.T) {
			call, err := plugin.NewCall(plugin.Workflow{Namespace: "team-a", Name: "w"}, "summarize",
				[]byte(`{"step":"summary","cluster":"a","machines":"all","status":"Failed"}`))
			assert.NilError(t, err)
			execution, err := summaryStep{&Env{workflows: test.status}}.Prepare(call)
			assert.NilError(t, err)
			result, err := execution.Run(t.Context(), func(string) {})
			assert.NilError(t, err)
			assert.Assert(t, strings.Contains(result.Message, test.want), result.Message)
		})
	}
}

func TestASummaryFailsWhereItCannotReadTheNodes(t *testing.T) {
	call, err := plugin.NewCall(plugin.Workflow{Namespace: "team-a", Name: "w"}, "summarize",
		[]byte(`{"step":"summary","cluster":"a","machines":"all","status":"Failed"}`))
	assert.NilError(t, err)
	execution, err := summaryStep{&Env{workflows: stored{CompressedNodes: "none of it"}}}.Prepare(call)
	assert.NilError(t, err)
	_, err = execution.Run(t.Context(), func(string) {})
	assert.ErrorContains(t, err, `decompressing the node status of workflow "w"`)
}
