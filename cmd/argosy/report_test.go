package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	argofake "github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned/fake"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/internal/report"
)

// joinWorkflow is a Workflow that has worked on a group of two machines; its results are in ConfigMap configMap.
func joinWorkflow(configMap string) *wfv1.Workflow {
	at := metav1.NewTime(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	text := `{"configMap":"` + configMap + `"}`
	return &wfv1.Workflow{
		TypeMeta: metav1.TypeMeta{APIVersion: "argoproj.io/v1alpha1", Kind: "Workflow"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "join-x", Namespace: "team-a", UID: "u", Labels: map[string]string{"argosy.dev/workflow": "join"},
		},
		Status: wfv1.WorkflowStatus{Phase: wfv1.WorkflowFailed, StartedAt: at, FinishedAt: at, Nodes: wfv1.Nodes{"g": {
			ID: "g", Type: wfv1.NodeTypePlugin, TemplateName: "join-machine", Phase: wfv1.NodeFailed, StartedAt: at,
			Inputs:  &wfv1.Inputs{Parameters: []wfv1.Parameter{{Name: "machine", Value: wfv1.AnyStringPtr("m1+1")}}},
			Outputs: &wfv1.Outputs{Parameters: []wfv1.Parameter{{Name: "report", Value: wfv1.AnyStringPtr(text)}}},
		}}},
	}
}

func TestAReportOfAWorkflowNamesTheMachinesOfGroups(t *testing.T) {
	client := fake.NewClientset()
	members := []report.Member{
		{Machine: "m1", Phase: "Succeeded"}, {Machine: "m2", Phase: "Failed", Message: "no route"},
	}
	name, err := offload.Store{Client: client}.Write(t.Context(),
		offload.Owner{Name: "join-x", Namespace: "team-a", UID: "u"}, "reports", members)
	assert.NilError(t, err)
	made, err := reportOf(t.Context(), argofake.NewSimpleClientset(joinWorkflow(name)), client, "team-a", "join-x")
	assert.NilError(t, err)
	assert.Equal(t, len(made.Machines), 2)
	assert.Equal(t, made.Machines[1].Message, "no route")

	_, err = reportOf(t.Context(), argofake.NewSimpleClientset(), client, "team-a", "join-y")
	assert.ErrorContains(t, err, `reading workflow "join-y" of namespace "team-a"`)
}

// reportFile is a file with a value in JSON, compressed if its name ends so.
func reportFile(t *testing.T, name string, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	assert.NilError(t, err)
	if strings.HasSuffix(name, ".gz") {
		var packed bytes.Buffer
		writer := gzip.NewWriter(&packed)
		_, err := writer.Write(text)
		assert.NilError(t, err)
		assert.NilError(t, writer.Close())
		text = packed.Bytes()
	}
	file := filepath.Join(t.TempDir(), name)
	assert.NilError(t, os.WriteFile(file, text, 0o600))
	return file
}

func TestAReportIsMadeOfAFile(t *testing.T) {
	made := report.Report{APIVersion: report.APIVersion, Workflow: "join-x", Result: "Succeeded"}
	for name, value := range map[string]any{
		"workflow.json": joinWorkflow("c"), "report.json": made, "report.json.gz": made,
	} {
		root := rootCommand("argosy")
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs([]string{"report", "--file", reportFile(t, name, value)})
		assert.NilError(t, program.Execute(t.Context(), root))
		assert.Assert(t, is.Contains(out.String(), "join-x"), name)
		assert.Assert(t, is.Contains(out.String(), "<!doctype html>"), name)
	}
}

func TestAReportOfNothingIsRefused(t *testing.T) {
	pod := reportFile(t, "pod.json", map[string]string{"kind": "Pod", "apiVersion": "v1"})
	for arguments, want := range map[string]string{
		"":                                "the argument WORKFLOW or flag --file is required",
		"w":                               "flag --namespace is required",
		"w --file x":                      "exclude each other",
		"w -n team-a --output pdf":        "only html and json",
		"--file " + pod:                   "which is no Workflow",
		"--file " + filepath.Dir(pod):     "is a directory",
		"--file /nonexistent/report.json": "no such file",
	} {
		root := rootCommand("argosy")
		root.SetArgs(append([]string{"report"}, strings.Fields(arguments)...))
		root.SetOut(new(bytes.Buffer))
		assert.ErrorContains(t, program.Execute(t.Context(), root), want, arguments)
	}
}
