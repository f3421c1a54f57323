package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	certificatesv1 "k8s.io/api/certificates/v1"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// fault is injected while machine m1 is worked on by a workflow.
type fault struct {
	name   string
	inject func(t *testing.T, workflow string)
}

// faultsOf returns the faults that a join and an upgrade of a cluster's machine must both survive.
func faultsOf(c virtualCluster) []fault {
	return []fault{
		{"the sidecar is killed with SIGKILL", func(t *testing.T, _ string) {
			runOn(t, "host", "pkill", "-KILL", "-f", "^/executor-plugin serve")
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
		{"the agent pod is deleted", func(t *testing.T, workflow string) {
			hostKubectl(t, c, "delete", "pod", "-l",
				"workflows.argoproj.io/workflow="+workflow+",workflows.argoproj.io/component=agent", "--wait=false")
		}},
		{"the workflow is terminated", func(t *testing.T, workflow string) {
			_, err := c.Argo(t.Context(), "terminate", workflow)
			assert.NilError(t, err)
		}},
	}
}

// joinFaults returns the faults that are injected while m1 joins. Each must end with a Ready node.
func joinFaults() []fault {
	faults := faultsOf(teamA())
	if !wholeSuite {
		return inPairs(faults)
	}
	return append(faults, fault{"sshd is killed", func(t *testing.T, _ string) {
		assert.NilError(t, env.Lab.KillSSHD(t.Context(), "m1"))
	}})
}

// inPairs makes each two faults one, so that a join has both: the second as soon as the first has been injected.
func inPairs(faults []fault) []fault {
	var pairs []fault
	for pair := range slices.Chunk(faults, 2) {
		var names []string
		for _, one := range pair {
			names = append(names, one.name)
		}
		pairs = append(pairs, fault{strings.Join(names, ", "), func(t *testing.T, workflow string) {
			for _, one := range pair {
				one.inject(t, workflow)
			}
		}})
	}
	return pairs
}

func TestJoinSurvivesFaultsWhileBundleArrives(t *testing.T) {
	denied := 0
	for _, fault := range joinFaults() {
		t.Run(fault.name, func(t *testing.T) {
			resetMachines(t, "m1")
			limitBandwidth(t)
			started := time.Now()
			name := submit(t, teamA(), "join", "machines=m1")
			waitForPhase(t, "m1", "bundle")
			stolen := requestForOther(t, "m1", "m2")
			fault.inject(t, name)
			restoreBandwidth(t)
			mustEndJoined(t, name)
			assertJoined(t, "m1")
			assertApproved(t, started, "m1")
			request := readRequest(t, stolen)
			assert.Equal(t, string(request.Status.Certificate), "", "m1's token got the certificate of m2")
			if answeredAs(request, certificatesv1.CertificateDenied) {
				denied++
			}
		})
	}
	assert.Assert(t, denied > 0, "no join denied the request for another node")
}

// limitBandwidth lets the plugin push bundles and limits the host machine to 160 Mbit/s, so that a transfer takes
// seconds.
func limitBandwidth(t *testing.T) {
	t.Helper()
	configure(t, site.Overrides{Bundles: map[string]any{"repository": lab.RepositoryURL, "delivery": "push"}})
	runOn(t, "host", "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "160mbit", "burst", "512kb",
		"latency", "100ms")
	t.Cleanup(func() { restoreBandwidth(t) })
}

func restoreBandwidth(t *testing.T) {
	t.Helper()
	_, _ = env.Lab.Exec(context.Background(), "host", "tc", "qdisc", "del", "dev", "eth0", "root")
}

// mustEndJoined waits for the workflow. If the fault ended it, one `argo retry`, or a new submit where it was
// terminated, must finish the work.
func mustEndJoined(t *testing.T, name string) {
	t.Helper()
	w := waitForEnd(t, teamA(), name)
	if w.Status.Phase == wfv1.WorkflowSucceeded {
		return
	}
	t.Log(describe(w))
	if strings.Contains(w.Status.Message, "Terminate") {
		name = submit(t, teamA(), "join", "machines=m1")
	} else {
		_, err := teamA().Argo(t.Context(), "retry", name)
		assert.NilError(t, err)
		eventually(t, name+" runs again", func() bool {
			w, err = readWorkflow(t, teamA(), name)
			return err == nil && !w.Status.Phase.Completed()
		}, func() string { return fmt.Sprint(err) })
	}
	again := waitForEnd(t, teamA(), name)
	assert.Equal(t, again.Status.Phase, wfv1.WorkflowSucceeded)
}
