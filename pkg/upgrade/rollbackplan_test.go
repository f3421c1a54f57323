package upgrade_test

import (
	"errors"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
)

// planRollback plans a rollback of m1 of a site.
func planRollback(t *testing.T, s *site) upgrade.RollbackEntry {
	t.Helper()
	machine, _ := s.Cluster.Machine("m1")
	entries, err := s.PlanRollback(t.Context(), []config.Machine{machine}, operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 1)
	return entries[0]
}

func TestAPlanOfARollbackTellsWhatItWouldDo(t *testing.T) {
	upgraded := func(_ *testing.T, s *site) {
		m := s.machines["m1"]
		m.kept = before
		m.runs(after)
	}
	for name, test := range map[string]struct {
		policy string
		given  func(*testing.T, *site)
		action upgrade.RollbackAction
		reason string
	}{
		"was upgraded": {"", upgraded, upgrade.ActionRollback, "restore: "},
		"kept nothing": {"", func(*testing.T, *site) {}, upgrade.ActionRefuse, "nothing was kept"},
		"is rolled back already": {
			"", func(_ *testing.T, s *site) { s.machines["m1"].kept = before }, upgrade.ActionNothing,
			"no changes needed",
		},
		"was left cordoned": {
			"", func(t *testing.T, s *site) {
				s.machines["m1"].kept = before
				s.change(t, "m1", func(n *corev1.Node) {
					n.Spec.Unschedulable = true
					n.Annotations = map[string]string{drain.CordonedBy: "upgrade"}
				})
			}, upgrade.ActionRollback, "its node is still cordoned",
		},
		"has no node": {
			"", func(t *testing.T, s *site) {
				upgraded(t, s)
				assert.NilError(t, s.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", "m1"))
			}, upgrade.ActionRefuse, `the cluster has no node "m1"`,
		},
		"has a pod that no controller makes again": {
			"", func(t *testing.T, s *site) {
				upgraded(t, s)
				single(t, s)
			}, upgrade.ActionRefuse, "no controller",
		},
		"has such a pod, which is deleted": {
			"drain: {timeout: 1s}\n", func(t *testing.T, s *site) {
				upgraded(t, s)
				single(t, s)
				s.Cluster.Fleet.Upgrade.OnDrainTimeout = config.DrainForce
			}, upgrade.ActionRollback, "they are deleted, since upgrade.onDrainTimeout is force",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, test.policy, "m1")
			test.given(t, s)
			s.log = nil
			entry := planRollback(t, s)
			assert.Equal(t, entry.Action, test.action, "%v", entry.Reasons)
			assert.Assert(t, strings.Contains(strings.Join(entry.Reasons, "; "), test.reason), "%v", entry.Reasons)
			assert.Equal(t, s.happened(), "", "a plan changes nothing")
			table := upgrade.RollbackTable([]upgrade.RollbackEntry{entry})
			assert.Assert(t, strings.Contains(table, test.reason), table)
		})
	}
}

// single puts a pod without a controller on m1.
func single(t *testing.T, s *site) {
	t.Helper()
	assert.NilError(t, s.Tracker().Add(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "alone", Namespace: "default", UID: "uid"},
		Spec:       corev1.PodSpec{NodeName: "m1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}))
}

func TestARollbackThatWasInterruptedUncordonsItsNode(t *testing.T) {
	s := newSite(t, "", "m1")
	s.machines["m1"].kept = before
	s.change(t, "m1", func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Annotations = map[string]string{drain.CordonedBy: "upgrade"}
	})
	machine, _ := s.Cluster.Machine("m1")
	_, err := s.Rollback(t.Context(), machine, operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, s.stands(t, "m1"), before+" left")
}

func TestAfterAFailedRollbackTheOtherMachinesAreLeft(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	for _, name := range []string{"m1", "m2"} {
		s.machines[name].kept = before
		s.machines[name].runs(after)
	}
	s.machines["m1"].stuck = true
	first, _ := s.Cluster.Machine("m1")
	_, err := s.Rollback(t.Context(), first, operation.NewLimiter(1), operation.NoProgress{})
	assert.ErrorContains(t, err, "it does not start")
	assert.Equal(t, s.stands(t, "m1"), after+" cordoned by upgrade left")
	second, _ := s.Cluster.Machine("m2")
	outcome, err := s.Rollback(t.Context(), second, operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, outcome.String(), "machine m2 was left at v1.34.4: the rollback of m1 failed")
	assert.Equal(t, s.stands(t, "m2"), after)

	s.machines["m1"].stuck = false // it is mended, and tried again
	for _, machine := range []config.Machine{first, second} {
		_, err = s.Rollback(t.Context(), machine, operation.NewLimiter(1), operation.NoProgress{})
		assert.NilError(t, err)
		assert.Equal(t, s.stands(t, machine.Name), before+" left")
	}
}

// upgradedSite has machines that can be rolled back, the first of which is at work when a person asks.
func upgradedSite(t *testing.T, asked upgrade.Request, names ...string) *site {
	t.Helper()
	s := newSite(t, "", names...)
	for _, name := range names {
		s.machines[name].kept = before
		s.machines[name].runs(after)
	}
	s.machines[names[0]].duringRollback = func() {
		rollout, err := s.person().Ask(t.Context(), asked)
		assert.Check(t, err)
		assert.Check(t, rollout == "rollout-1", rollout)
	}
	return s
}

func TestAPausedRollbackBeginsNoMachineUntilItIsResumed(t *testing.T) {
	s := upgradedSite(t, upgrade.Pause, "m1", "m2")
	_, err := s.rollBack(t, "m1")
	assert.NilError(t, err)
	assert.Equal(t, s.stands(t, "m1"), before+" left", "a machine at work finishes")

	paused := ""
	s.when(`the rollout is paused, until "argosy resume"`, func() {
		paused = s.happened()
		status, err := s.person().Status(t.Context())
		assert.Check(t, err)
		assert.Check(t, strings.HasPrefix(status.String(), "rollout rollout-1 is paused: "), status)
		s.machines["m2"].runs("v1.34.0") // it is inspected again after the wait
		_, err = s.person().Ask(t.Context(), "")
		assert.Check(t, err)
	})
	outcome, err := s.rollBack(t, "m2")
	assert.NilError(t, err)
	assert.Assert(t, paused != "" && !strings.Contains(paused, "m2"), paused)
	assert.Equal(t, s.stands(t, "m2"), before+" left")
	assert.Equal(t, outcome.From, "v1.34.0")

	assert.NilError(t, s.End(t.Context()))
	_, err = s.person().Ask(t.Context(), upgrade.Pause)
	assert.ErrorContains(t, err, `no rollout of cluster "team-a" is under way`)
}

func TestAnAbortedRollbackLeavesTheNextMachines(t *testing.T) {
	s := upgradedSite(t, upgrade.Abort, "m1", "m2", "m3")
	_, err := s.rollBack(t, "m1")
	assert.NilError(t, err)
	for _, name := range []string{"m2", "m3"} {
		outcome, err := s.rollBack(t, name)
		assert.NilError(t, err)
		assert.Equal(t, outcome.String(), "machine "+name+" was left at v1.34.4: the rollout was aborted")
		assert.Equal(t, s.stands(t, name), after+" left")
	}
	status, err := s.person().Status(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(status.Table(), "left   the rollout was aborted"), status.Table())
	_, err = s.Clean(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
	done, err := s.person().AwaitEnd(t.Context(), "rollout-1", operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, len(done), 0, "%v", done)
}

func TestARollbackThatHasBegunIsFinishedWhenItWasAborted(t *testing.T) {
	s := upgradedSite(t, upgrade.Abort, "m1", "m2")
	_, err := s.rollBack(t, "m1")
	assert.NilError(t, err)
	s.change(t, "m2", func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Annotations = map[string]string{
			drain.CordonedBy:   "upgrade",
			upgrade.Annotation: `{"rollout":"rollout-1","run":"1","state":"working"}`,
		}
	})
	outcome, err := s.rollBack(t, "m2")
	assert.NilError(t, err)
	assert.Equal(t, outcome.Left, "")
	assert.Equal(t, s.stands(t, "m2"), before+" left")
}

func TestARollbackWaitsWhileItCannotReadTheRequest(t *testing.T) {
	s := upgradedSite(t, "", "m1")
	fails := 1
	s.PrependReactor("get", "leases", func(ktesting.Action) (bool, runtime.Object, error) {
		// The first call is that of the Lease's taking, the second asks for the request.
		if fails++; fails == 3 {
			return true, nil, errors.New("the API server is gone")
		}
		return false, nil, nil
	})
	_, err := s.rollBack(t, "m1")
	assert.NilError(t, err)
	reported := strings.Join(s.progress, "\n")
	assert.Assert(t, strings.Contains(reported, "reading whether the rollout is paused"), reported)
	assert.Equal(t, s.stands(t, "m1"), before+" left")
}
