package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
)

// all are the lab's machines: root, sudo without and with password, behind a bastion, without scp.
var all = []string{"m1", "m2", "m3", "m4", "m5"}

func TestOneSubmitJoinsMachinesOfEveryKindAndASecondDoesNothing(t *testing.T) {
	clean(t, all...)

	first := finished(t, submit(t, "concurrency=3"))
	assert.Equal(t, first.Status.Phase, wfv1.WorkflowSucceeded, describe(first))
	assertJoined(t, all...)
	assert.Assert(t, atOnce(t) <= 3, "%d machines were at work at once", atOnce(t))

	second := finished(t, submit(t))
	assert.Equal(t, second.Status.Phase, wfv1.WorkflowSucceeded, describe(second))
	assert.Assert(t, strings.Contains(step(t, second, "plan").Message, "0 of 5 machines to join, 5 as wanted already"),
		describe(second))
	assertJoined(t, all...)
}

// atOnce is how many machines were at work at the same moment, by their own clocks, which are one in the lab.
func atOnce(t *testing.T) int {
	t.Helper()
	most := 0
	for _, machine := range all {
		started, found := statusOn(t, machine)
		assert.Assert(t, found && started.Changed, "%s did nothing", machine)
		working := 0
		for _, other := range all {
			status, _ := statusOn(t, other)
			if !status.Started.After(started.Started) && status.Finished.After(started.Started) {
				working++
			}
		}
		most = max(most, working)
	}
	return most
}

func TestADryRunTouchesNoMachine(t *testing.T) {
	clean(t, "m1")
	w := finished(t, submit(t, "machines=m1", "dryRun=true"))
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, strings.Contains(step(t, w, "plan").Message, "1 of 1 machines to join"), describe(w))
	out, err := env.Lab.Exec(t.Context(), "m1", "sh", "-c",
		"ls -A /etc/kubernetes /etc/containerd /var/lib/argosy 2>/dev/null; ls /usr/local/bin")
	assert.NilError(t, err)
	assert.Assert(t, !strings.Contains(out, "kubelet") && !strings.Contains(out, "config.toml") &&
		!strings.Contains(out, "ops"), out)
}

func TestJoinByHandSharesTheCode(t *testing.T) {
	clean(t, "m2")
	out, err := env.Argosy(t.Context(), "join", "--namespace", "team-a", "--cluster", "team-a", "--machines", "m2")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "node m2 is Ready at v1.34.4"), out)
	assertJoined(t, "m2")
}

func TestDoctorChecksTheInstallation(t *testing.T) {
	_, err := env.Argosy(t.Context(), "doctor", "--namespace", "team-a")
	assert.NilError(t, err)

	_, err = env.Argosy(t.Context(), "doctor", "--namespace", "default")
	assert.ErrorContains(t, err, "apply install/ to namespace default")
}

func TestArgoFindsNothingToSayAboutWorkflowsAndExamples(t *testing.T) {
	out, err := env.Argo(t.Context(), "lint", "--offline", filepath.Join(env.Source, "workflows"),
		filepath.Join(env.Source, "examples"))
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, "no linting errors found"), out)
}
