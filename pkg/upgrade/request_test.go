package upgrade_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// person is another process on the same cluster, from which a person asks.
func (s *site) person() *upgrade.Upgrader {
	return &upgrade.Upgrader{Rollout: "terminal", Joiner: s.Joiner}
}

// askDuring has a person ask while m1 is at work.
func (s *site) askDuring(t *testing.T, asked upgrade.Request) {
	t.Helper()
	s.machines["m1"].during = func() {
		name, err := s.person().Ask(t.Context(), asked)
		assert.Check(t, err)
		assert.Check(t, name == "rollout-1", name)
	}
}

func TestAPausedRolloutBeginsNoMachineUntilItIsResumed(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	s.askDuring(t, upgrade.Pause)
	plan := rollout.Plan{MaxUnavailable: 2, Waves: []rollout.Wave{{Name: "1", Machines: []string{"m1", "m2"}}}}
	_, err := s.upgrade(t.Context(), t, "m1", plan)
	assert.NilError(t, err)
	assert.Equal(t, s.stands(t, "m1"), after+" succeeded", "a machine at work finishes")

	paused := ""
	s.when("the rollout is paused", func() {
		paused = s.happened()
		status, err := s.person().Status(t.Context())
		assert.Check(t, err)
		const told = "rollout rollout-1 is paused: 1 of 2 machines are at " + after
		assert.Check(t, strings.HasPrefix(status.String(), told), status)
		_, err = s.person().Ask(t.Context(), "")
		assert.Check(t, err)
	})
	_, err = s.upgrade(t.Context(), t, "m2", plan)
	assert.NilError(t, err)
	assert.Assert(t, paused != "" && !strings.Contains(paused, "upgrade m2"), paused)
	assert.Equal(t, s.stands(t, "m2"), after+" succeeded")
	// The cordon of the wave does not outlast the pause.
	const cordons = "cordon m2, upgrade m1, uncordon m1, uncordon m2, stage m2, cordon m2"
	assert.Assert(t, strings.Contains(s.happened(), cordons), s.happened())
}

func TestAnAbortedRolloutLeavesItsMachinesUncordoned(t *testing.T) {
	s := newSite(t, "", "m1", "m2", "m3")
	s.askDuring(t, upgrade.Abort)
	plan := rollout.Plan{MaxUnavailable: 2, Waves: []rollout.Wave{{Name: "1", Machines: []string{"m1", "m2", "m3"}}}}
	_, err := s.upgrade(t.Context(), t, "m1", plan)
	assert.NilError(t, err)
	for _, name := range []string{"m2", "m3"} {
		outcome, err := s.upgrade(t.Context(), t, name, plan)
		assert.NilError(t, err)
		assert.Assert(t, strings.HasPrefix(outcome.Left, "the rollout was aborted"), outcome.Left)
		assert.Equal(t, s.stands(t, name), before+" left")
	}
	gate, err := s.After(t.Context(), plan, plan.Waves[0])
	assert.NilError(t, err)
	assert.Assert(t, gate.Halt != nil && !gate.Halt.Allowed)
	_, err = s.Verify(t.Context(), s.Cluster.Fleet.Machines, plan)
	assert.ErrorContains(t, err, "m2: the rollout was aborted")

	_, err = s.person().Ask(t.Context(), upgrade.Pause)
	assert.ErrorContains(t, err, "rollout rollout-1 was aborted; begin another one")
	_, err = s.Clean(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
	done, err := s.person().AwaitEnd(t.Context(), "rollout-1", operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, len(done), 0)
	status, err := s.person().Status(t.Context())
	assert.NilError(t, err)
	assert.Equal(t, status.String(), "no rollout is under way: 1 of 3 machines are at v1.34.4")
	assert.Assert(t, strings.Contains(status.Table(), "left       the rollout was aborted"), status.Table())
	_, err = s.person().Ask(t.Context(), upgrade.Pause)
	assert.ErrorContains(t, err, `no rollout of cluster "team-a" is under way`)
}

// holds has a rollout hold the Lease, with a request to another one before it.
func (s *site) holds(t *testing.T, holder, annotation string) {
	t.Helper()
	renewed := metav1.NewMicroTime(time.Now())
	_, err := s.CoordinationV1().Leases("kube-system").Create(t.Context(), &coordination.Lease{
		ObjectMeta: metav1.ObjectMeta{
			Name: "argosy-upgrade", Annotations: map[string]string{"argosy.dev/rollout-request": annotation},
		},
		Spec: coordination.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed},
	}, metav1.CreateOptions{})
	assert.NilError(t, err)
}

func TestARequestToAnotherRolloutOrWithoutSenseCountsForNone(t *testing.T) {
	for _, annotation := range []string{`{"rollout":"rollout-0","request":"abort"}`, `abort`, `{}`} {
		s := newSite(t, "", "m1")
		s.holds(t, "rollout-1", annotation)
		_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
		assert.NilError(t, err)
		assert.Equal(t, s.stands(t, "m1"), after+" succeeded", annotation)
	}
}

func TestAMachineAtWorkIsShownByTheRecordWhereItsNodeIsGone(t *testing.T) {
	s := newSite(t, "", "m1")
	table := ""
	s.machines["m1"].during = func() {
		assert.Check(t, s.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", "m1"))
		status, err := s.person().Status(context.Background())
		assert.Check(t, err)
		table = status.Table()
	}
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.Assert(t, err != nil)
	assert.Assert(t, strings.Contains(table, "m1       m1    no node  working"), table)
}

func TestAStatusShowsWhoCordonedANode(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	s.holds(t, "rollout-7", "")
	s.change(t, "m1", func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Annotations = map[string]string{drain.CordonedBy: "upgrade-wave"}
	})
	s.change(t, "m2", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	status, err := s.person().Status(t.Context())
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(status.Table(), "not begun, cordoned by a rollout"), status.Table())
	assert.Assert(t, strings.Contains(status.Table(), "not begun, cordoned\n") ||
		strings.Contains(status.Table(), "not begun, cordoned  "), status.Table())
	_, err = s.CoordinationV1().Leases("kube-system").Get(t.Context(), "argosy-upgrade", metav1.GetOptions{})
	assert.Assert(t, !apierrors.IsNotFound(err), "a status changes nothing")
}
