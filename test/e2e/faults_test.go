package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// faults are what must be survived in the middle of a join, each struck while the bundle is on its way.
var faults = []struct {
	name   string
	strike func(t *testing.T, workflow string)
}{
	{"the agent pod is deleted", func(t *testing.T, workflow string) {
		kubectl(t, "delete", "pod", "-n", site.Namespace, "-l",
			"workflows.argoproj.io/workflow="+workflow+",workflows.argoproj.io/component=agent", "--wait=false")
	}},
	{"the sidecar is killed with SIGKILL", func(t *testing.T, _ string) {
		on(t, "host", "pkill", "-KILL", "-f", "^/executor-plugin serve")
	}},
	{"sshd is killed", func(t *testing.T, _ string) {
		assert.NilError(t, env.Lab.KillSSHD(t.Context(), "m1"))
	}},
	{"the connection is cut for 30 s", func(t *testing.T, _ string) {
		assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), false))
		t.Cleanup(func() { _ = machineNamed(t, "m1").Connect(context.Background(), true) })
		time.Sleep(30 * time.Second)
		assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), true))
	}},
	{"the machine is rebooted", func(t *testing.T, _ string) {
		assert.NilError(t, machineNamed(t, "m1").Reboot(t.Context()))
	}},
	{"the workflow is terminated", func(t *testing.T, workflow string) {
		_, err := env.Argo(t.Context(), "terminate", workflow)
		assert.NilError(t, err)
	}},
}

func TestEveryFaultInTheMiddleOfAJoinEndsWithAReadyNode(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			clean(t, "m1")
			slowly(t)
			name := submit(t, "machines=m1")
			reaches(t, "m1", "bundle")
			fault.strike(t, name)
			full(t)
			converges(t, name)
			assertJoined(t, "m1")
		})
	}
}

// slowly has the plugin push bundles, and narrows the way out of the host machine, so that one is on its way for
// seconds; full opens it again.
func slowly(t *testing.T) {
	t.Helper()
	configure(t, site.Fleet{Bundles: map[string]any{"repository": lab.RepositoryURL, "delivery": "push"}})
	on(t, "host", "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "160mbit", "burst", "512kb",
		"latency", "100ms")
	t.Cleanup(func() { full(t) })
}

func full(t *testing.T) {
	t.Helper()
	_, _ = env.Lab.Exec(context.Background(), "host", "tc", "qdisc", "del", "dev", "eth0", "root")
}

// converges waits for the workflow; if the fault ended it, one `argo retry`, or a new submit, must finish the work.
func converges(t *testing.T, name string) {
	t.Helper()
	w := finished(t, name)
	if w.Status.Phase == wfv1.WorkflowSucceeded {
		return
	}
	t.Logf("ended as %s\n%s", w.Status.Phase, describe(w))
	if strings.Contains(w.Status.Message, "Terminate") {
		name = submit(t, "machines=m1")
	} else {
		_, err := env.Argo(t.Context(), "retry", name)
		assert.NilError(t, err)
		eventually(t, name+" runs again", func() bool { return !workflow(t, name).Status.Phase.Completed() },
			func() string { return "" })
	}
	again := finished(t, name)
	assert.Equal(t, again.Status.Phase, wfv1.WorkflowSucceeded, describe(again))
}

// machineNamed returns a machine of the lab.
func machineNamed(t *testing.T, name string) lab.Machine {
	t.Helper()
	m, err := env.Lab.Machine(name)
	assert.NilError(t, err)
	return m
}

func on(t *testing.T, machine string, argv ...string) string {
	t.Helper()
	out, err := env.Lab.Exec(t.Context(), machine, argv...)
	assert.NilError(t, err, strings.Join(argv, " "))
	return out
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := env.Kubectl(t.Context(), args...)
	assert.NilError(t, err)
	return out
}
