package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/test/lab"
)

// allMachines lists the machines of team-a: root, sudo without and with a password, behind a bastion, without scp.
var allMachines = []string{"m1", "m2", "m3", "m4", "m5"}

func TestOneSubmitJoinsMachinesOfEveryKind(t *testing.T) {
	resetMachines(t, allMachines...)

	started := time.Now()
	first := mustSucceed(t, teamA(), "join", "concurrency=3")
	assertJoined(t, allMachines...)
	for _, machine := range allMachines {
		// As Argo's UI and "argo get" show it.
		assert.Assert(t, cmp.Regexp(`^join\(\d+:`+machine+`\)\(0\)$`, step(t, first, machine).DisplayName))
	}
	assertApproved(t, started, allMachines...)
	assert.Assert(t, mostAtOnce(t) <= 3, "%d machines worked at once", mostAtOnce(t))

	second := mustSucceed(t, teamA(), "join")
	assertContains(t, step(t, second, "plan").Message, "0 of 5 machines to join, 5 as wanted already")
	assertJoined(t, allMachines...)
}

// mostAtOnce returns how many machines worked at the same moment at most, by their own clocks, which are one in the
// lab.
func mostAtOnce(t *testing.T) int {
	t.Helper()
	most := 0
	for _, machine := range allMachines {
		started, found := operationStatus(t, machine)
		assert.Assert(t, found && started.Changed, "%s did nothing", machine)
		working := 0
		for _, other := range allMachines {
			status, _ := operationStatus(t, other)
			if !status.Started.After(started.Started) && status.Finished.After(started.Started) {
				working++
			}
		}
		most = max(most, working)
	}
	return most
}

func TestDryRunChangesNoMachine(t *testing.T) {
	resetMachines(t, "m1")
	w := mustSucceed(t, teamA(), "join", "machines=m1", "dryRun=true")
	assertContains(t, step(t, w, "plan").Message, "1 of 1 machines to join")
	out := runOn(t, "m1", "sh", "-c",
		"ls -A /etc/kubernetes /etc/containerd /var/lib/argosy 2>/dev/null; ls /usr/local/bin")
	assert.Assert(t, !strings.Contains(out, "kubelet") && !strings.Contains(out, "config.toml") &&
		!strings.Contains(out, "ops"), out)
}

func TestJoinFromCommandLine(t *testing.T) {
	resetMachines(t, "m2")
	out := argosy(t, "join", "--namespace", "team-a", "--cluster", "team-a", "--machines", "m2")
	assertContains(t, out, "node m2 is Ready at "+lab.Version)
	assertJoined(t, "m2")
}

func TestDoctorChecksInstallation(t *testing.T) {
	argosy(t, "doctor", "--namespace", "team-a")

	_, err := env.Argosy(t.Context(), "doctor", "--namespace", "default")
	assert.ErrorContains(t, err, "apply install/ to namespace default")
}

func TestArgoLintsWorkflowsAndExamples(t *testing.T) {
	out, err := teamA().Argo(t.Context(), "lint", "--offline", filepath.Join(env.Source, "workflows"),
		filepath.Join(env.Source, "examples"))
	assert.NilError(t, err)
	assertContains(t, out, "no linting errors found")
}
