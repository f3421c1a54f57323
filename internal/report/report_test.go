package report_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/report"
	"argosy.dev/argosy/pkg/node/spec"
)

// pageOf is the page of a report.
func pageOf(t *testing.T, made *report.Report) string {
	t.Helper()
	var page bytes.Buffer
	assert.NilError(t, made.HTML(&page))
	return page.String()
}

func machineNamed(t *testing.T, made *report.Report, name string) report.Machine {
	t.Helper()
	for _, m := range made.Machines {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("machine %q is not in the report", name)
	return report.Machine{}
}

func TestAReportHasTheTimesVersionsAndFailuresOfMachines(t *testing.T) {
	made := report.Of(sampleUpgrade(t), noMembers)
	assert.Equal(t, made.Operation, "upgrade")
	assert.Equal(t, made.Cluster, "sample")
	assert.Equal(t, made.Result, "Failed")
	assert.Equal(t, len(made.Machines), 9)
	good := machineNamed(t, made, "gpu-1")
	assert.DeepEqual(t, [2]string{good.From, good.Version}, [2]string{"v1.34.4", "v1.35.8"})
	assert.DeepEqual(t, good.Done, []string{"3 pods evicted", "binaries, kubelet applied"})
	assert.Equal(t, good.Start, 6.0)
	assert.DeepEqual(t, good.Phases[:4], []report.Phase{
		{Name: "inspect", Start: 6, Seconds: 1.2},
		{Name: "cordon", Start: 7.2, Seconds: 0.6},
		{Name: "drain", Start: 7.8, Seconds: 14.5},
		{Name: "preflight", Start: 22.3, Seconds: 0.7},
	})
	bad := machineNamed(t, made, "gpu-8")
	assert.Equal(t, bad.Result, "Failed")
	assert.Equal(t, bad.Failure.Phase, "healthy")
	assert.Equal(t, made.Steps[0].Name, "upgrade-plan")

	page := pageOf(t, made)
	for _, want := range []string{
		"upgrade sample-upgrade-4xw9c · cluster sample", "9 machines, 1 failed", "v1.34.4 → v1.35.8 on 8 machines",
		"unknown field", "journalctl -u kubelet -n 50", "rolled back", "upgrade-gate",
	} {
		assert.Assert(t, is.Contains(page, want))
	}
}

func TestTheJSONOfAReportMakesTheSamePage(t *testing.T) {
	made := report.Of(sampleJoin(t), noMembers)
	var text bytes.Buffer
	assert.NilError(t, made.JSON(&text))
	read, err := report.Read(text.Bytes())
	assert.NilError(t, err)
	assert.DeepEqual(t, read, made)
	assert.Equal(t, pageOf(t, read), pageOf(t, made))

	_, err = report.Read([]byte(`{"kind":"Pod","apiVersion":"v1"}`))
	assert.ErrorContains(t, err, `apiVersion is "v1"`)
}

// A page has no script, no link and no source, and its policy allows its own style alone.
func TestAPageAsksNoServer(t *testing.T) {
	page := pageOf(t, report.Of(sampleJoin(t), noMembers))
	assert.Assert(t, is.Contains(page, `content="default-src &#39;none&#39;; style-src &#39;sha256-`))
	asks := regexp.MustCompile(`(?i)<(script|link|img|iframe|a|base|form)[\s>]|https?:|url\(|@import|src=|href=|style=`)
	found := asks.FindAllString(page, -1)
	assert.Equal(t, len(found), 0, "%q", found)
}

func TestTextsOfMachinesAreEscapedInAPage(t *testing.T) {
	evil := `<script>alert(1)</script>"'>`
	made := &report.Report{
		APIVersion: report.APIVersion, Workflow: evil, Cluster: evil, Result: "Failed", Started: sampleStart,
		Ended: sampleStart.Add(time.Minute),
		Machines: []report.Machine{{
			Name: evil, Result: "Failed", Message: evil, Version: evil, Seconds: 60,
			Failure: &spec.Error{Message: evil, Tail: []string{evil}, Command: evil, Problems: []string{evil}},
			Phases:  []report.Phase{{Name: evil, Seconds: 60}},
		}},
	}
	assert.Assert(t, !strings.Contains(pageOf(t, made), "<script"))
}

// A thousand machines with thirteen phases each.
func TestAPageOfAThousandMachinesStaysSmall(t *testing.T) {
	made := report.Of(sampleThousand(t), noMembers)
	page := pageOf(t, made)
	var packed, text bytes.Buffer
	writer := gzip.NewWriter(&packed)
	_, err := writer.Write([]byte(page))
	assert.NilError(t, err)
	assert.NilError(t, writer.Close())
	assert.NilError(t, made.JSON(&text))
	t.Logf("page: %d bytes, %d compressed; JSON: %d bytes", len(page), packed.Len(), text.Len())
	assert.Assert(t, len(page) < 800<<10, "%d bytes", len(page))
	assert.Assert(t, packed.Len() < 150<<10, "%d bytes", packed.Len())
	assert.Assert(t, strings.Count(page, "<path") < 40)
	assert.Equal(t, strings.Count(page, `data-label="Version"`), 1000)
}

// groupNode is the step of a group.
func groupNode() wfv1.NodeStatus {
	return wfv1.NodeStatus{
		ID: "g", Type: wfv1.NodeTypePlugin, TemplateName: "join-machine", Phase: wfv1.NodeFailed,
		StartedAt: metav1.NewTime(sampleStart), FinishedAt: metav1.NewTime(sampleStart.Add(time.Minute)),
		Inputs: &wfv1.Inputs{Parameters: []wfv1.Parameter{{Name: "machine", Value: wfv1.AnyStringPtr("m1+1")}}},
		Outputs: &wfv1.Outputs{Parameters: []wfv1.Parameter{{
			Name: "report", Value: wfv1.AnyStringPtr(`{"configMap":"c"}`),
		}}},
	}
}

func TestMachinesOfAGroupAreInAReportEach(t *testing.T) {
	timeline := timelineOf(t, 10*time.Second, []phase{{"inspect", 1}, {"kubeadm", 4}})
	text, err := json.Marshal(map[string]any{"version": "v1.34.4", "changed": true, "timeline": timeline})
	assert.NilError(t, err)
	w := workflowOf(t, "w", "join", nil, groupNode())
	made := report.Of(w, func(name string) ([]report.Member, error) {
		assert.Equal(t, name, "c")
		return []report.Member{
			{Machine: "m1", Phase: "Succeeded", Report: text}, {Machine: "m2", Phase: "Failed", Message: "no route"},
		}, nil
	})
	assert.Equal(t, len(made.Machines), 2)
	m1 := machineNamed(t, made, "m1")
	assert.Equal(t, m1.Start, 10.0)
	assert.Equal(t, m1.Seconds, 5.0)
	m2 := machineNamed(t, made, "m2")
	assert.Equal(t, m2.Message, "no route")
	assert.Equal(t, m2.Seconds, 60.0)

	made = report.Of(w, func(string) ([]report.Member, error) { return nil, errors.New("it is gone") })
	assert.Equal(t, made.Machines[0].Name, "m1+1")
	assert.DeepEqual(t, made.Notes, []string{"machines of group m1+1 are not listed: it is gone"})
}

func TestAttemptsOfAStepAreCounted(t *testing.T) {
	one := step{template: "join-machine", machine: "m1", phases: []phase{{"inspect", 1}}}
	one.failure = &spec.Error{Phase: "x"}
	two := one
	two.begin, two.failure, two.phases = time.Minute, nil, []phase{{"inspect", 1}, {"kubeadm", 3}}
	made := report.Of(workflowOf(t, "w", "join", []step{one, two}), noMembers)
	m := machineNamed(t, made, "m1")
	assert.Equal(t, m.Attempts, 2)
	assert.Equal(t, m.Result, "Succeeded")
	assert.Assert(t, m.Failure == nil)
	assert.Equal(t, m.Seconds, 64.0)
	assert.Assert(t, is.Contains(pageOf(t, made), "Succeeded after 2 attempts"))
}

func TestAReportOfARunWithoutMachinesHasItsSteps(t *testing.T) {
	w := workflowOf(t, "w", "provision", nil, clusterNode("provision-control-plane", 0, time.Minute, "ready"))
	made := report.Of(w, noMembers)
	assert.Equal(t, made.Seconds(), 60.0)
	page := pageOf(t, made)
	assert.Assert(t, is.Contains(page, "no machine was worked on"))
	assert.Assert(t, is.Contains(page, "provision-control-plane"))
	assert.Assert(t, !strings.Contains(page, "Timeline"))
}

func TestAReportNotesAnOffloadedWorkflow(t *testing.T) {
	w := workflowOf(t, "w", "join", nil)
	w.Status.OffloadNodeStatusVersion = "fnv:1"
	assert.Assert(t, is.Contains(report.Of(w, noMembers).Notes[0], "offloaded to a database"))
}
