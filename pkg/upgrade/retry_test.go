package upgrade_test

import (
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// retry has the workflow of the site's rollout retried: it keeps its UID, and a new process serves it.
func (s *site) retry(run string) {
	s.Upgrader = &upgrade.Upgrader{Joiner: s.Upgrader.Joiner, Rollout: s.Rollout, Run: run}
}

// run upgrades the machines of a plan in its order, and returns the error of the verification.
func (s *site) run(t *testing.T, plan rollout.Plan) error {
	t.Helper()
	for _, wave := range plan.Waves {
		for _, name := range wave.Machines {
			_, _ = s.upgrade(t.Context(), t, name, plan)
		}
	}
	_, err := s.Verify(t.Context(), s.Cluster.Fleet.Machines, plan)
	return err
}

// again returns the plan of what an earlier run left.
func (s *site) again(t *testing.T) rollout.Plan {
	t.Helper()
	plan, err := s.Again(t.Context(), s.Cluster.Fleet.Machines)
	assert.NilError(t, err)
	return plan
}

func TestARetriedRolloutUpgradesWhatFailedAndWhatWasLeft(t *testing.T) {
	s := newSite(t, "", "m1", "m2", "m3")
	s.machines["m1"].inspectErr = errclass.With(errclass.Transient, errors.New("no route to host"))
	plan := inWaves("m1", "m2", "m3")
	err := s.run(t, plan)
	assert.ErrorContains(t, err, "0 of 3 machines are Ready at v1.34.4\nm1: ")
	assert.ErrorContains(t, err, "no route to host\nm2: halted after m1\nm3: halted after m1")
	assert.Equal(t, s.again(t).Size(), 0, "there was no earlier run")

	// Another try in the same run is no success, and the failure stays noted.
	_, err = s.upgrade(t.Context(), t, "m1", plan)
	assert.ErrorContains(t, err, "it has failed in this run: ")
	assert.ErrorContains(t, err, "no route to host")
	assert.Equal(t, s.stands(t, "m1"), before+" failed")

	s.machines["m1"].inspectErr = nil
	s.retry("2")
	again := s.again(t)
	assert.Equal(t, again.Size(), 3)
	assert.NilError(t, s.run(t, again))
	for _, name := range []string{"m1", "m2", "m3"} {
		assert.Equal(t, s.stands(t, name), after+" succeeded")
	}
	s.retry("3")
	assert.Equal(t, s.again(t).Size(), 0)
	assert.NilError(t, s.run(t, plan))
}

// Argo itself repeats the step of one machine for --node-field-selector, with the plan of the first run.
func TestARepeatedStepUpgradesAMachineThatFailedBefore(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	s.machines["m2"].fails = "keep"
	plan := inWaves("m1", "m2")
	assert.ErrorContains(t, s.run(t, plan), "m2: ")
	s.machines["m2"].fails = ""
	s.retry("2")
	_, err := s.upgrade(t.Context(), t, "m2", plan)
	assert.NilError(t, err)
	_, err = s.upgrade(t.Context(), t, "m1", plan)
	assert.NilError(t, err)
	assert.NilError(t, s.run(t, plan))
}

func TestAMachineThatNoRunBeganIsNotUpgradedByARetry(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1", "m2"))
	assert.NilError(t, err)
	s.retry("2")
	assert.Equal(t, s.again(t).Size(), 0, "a person may have kept m2 from beginning")
	_, err = s.Verify(t.Context(), s.Cluster.Fleet.Machines, inWaves("m1", "m2"))
	assert.ErrorContains(t, err, "m2: ")
}

// Of a machine that is not at the version, the verification says
//
//	why it is not                                      the workflow
//	its label keeps it out                             passes
//	the window closed before its turn                  passes
//	its pods did not leave, and onDrainTimeout is skip  passes
//	another machine failed before it                   fails
//	other machines stayed unavailable                  fails
//	its node is gone                                   fails
func TestOnlyWhatWasAskedForIsLeftOut(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(t *testing.T, s *site)
		err     string
	}{
		"a label": {happens: func(t *testing.T, s *site) {
			s.change(t, "m2", func(n *corev1.Node) { n.Labels = map[string]string{upgrade.SkipLabel: "true"} })
		}},
		"the window": {happens: func(_ *testing.T, s *site) {
			s.machines["m1"].during = func() { s.Until = time.Now().Add(-time.Minute) }
		}},
		"a drain to skip": {happens: func(t *testing.T, s *site) {
			s.Cluster.Fleet.Upgrade.OnDrainTimeout = "skip"
			s.Cluster.Fleet.Drain.Timeout.Duration = 50 * time.Millisecond
			s.pod(t, "m2", "web-0")
			s.forbidden = []string{"web-0"}
		}},
		"a failure": {
			func(_ *testing.T, s *site) { s.machines["m1"].fails = "keep" },
			"m2: halted after m1",
		},
		"others unavailable": {
			func(t *testing.T, s *site) {
				s.when("uncordoning node m1", func() {
					s.Cluster.Fleet.Limits.ReadyTimeout.Duration = time.Millisecond
					s.change(t, "m3", func(n *corev1.Node) { n.Spec.Unschedulable = true })
				})
			},
			"m2: m3 is unavailable already, and no more than 1 may be out of service",
		},
		"a node that is gone": {
			func(t *testing.T, s *site) {
				s.machines["m1"].during = func() {
					assert.NilError(t, s.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", "m2"))
				}
			},
			"m2: it has no node",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", "m1", "m2", "m3")
			s.change(t, "m3", func(n *corev1.Node) { n.Labels = map[string]string{upgrade.SkipLabel: "true"} })
			test.happens(t, s)
			err := s.run(t, inWaves("m1", "m2"))
			if test.err == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.err)
		})
	}
}

// The nodes of a wave that are begun next take no pods of the machine that is drained before them.
func TestAWaveIsCordonedBeforeItsFirstMachineIsDrained(t *testing.T) {
	s := newSite(t, "", "m1", "m2", "m3")
	s.pod(t, "m1", "web-0")
	plan := rollout.Plan{
		MaxUnavailable: 2,
		Waves:          []rollout.Wave{{Name: "1", Machines: []string{"m1", "m2", "m3"}}},
	}
	s.machines["m1"].during = func() { assert.Equal(t, s.stands(t, "m2"), before+" cordoned by upgrade-wave") }
	_, err := s.upgrade(t.Context(), t, "m1", plan)
	assert.NilError(t, err)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, cordon m2, evict web-0, upgrade m1, uncordon m1")
	assert.NilError(t, s.run(t, plan))
	for _, name := range []string{"m1", "m2", "m3"} {
		assert.Equal(t, s.stands(t, name), after+" succeeded")
	}
}

func TestAMachineOfAHaltedWaveIsUncordoned(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	s.machines["m1"].fails = "keep"
	plan := rollout.Plan{MaxUnavailable: 2, Waves: []rollout.Wave{{Name: "1", Machines: []string{"m1", "m2"}}}}
	_, err := s.upgrade(t.Context(), t, "m1", plan)
	assert.ErrorContains(t, err, "it does not start")
	assert.Equal(t, s.stands(t, "m2"), before+" cordoned by upgrade-wave")
	outcome, err := s.upgrade(t.Context(), t, "m2", plan)
	assert.NilError(t, err)
	assert.Equal(t, outcome.Left, "halted after m1; node m2 is uncordoned")
	assert.Equal(t, s.stands(t, "m2"), before+" left")
}

func TestCleaningUpUncordonsWhatItsWaveDidNotBegin(t *testing.T) {
	s := newSite(t, "", "m1")
	s.change(t, "m1", func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Annotations = map[string]string{drain.CordonedBy: "upgrade-wave"}
	})
	done, err := s.Clean(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
	assert.DeepEqual(t, done, []string{"node m1 was not begun and is uncordoned"})
	assert.Equal(t, s.stands(t, "m1"), before)
	assert.Equal(t, s.machines["m1"].asked, 0)
}

// A user uncordoned the node that a rollout had left, and cordoned it later for a reason of their own.
func TestCleaningUpLeavesALaterCordonOfAUser(t *testing.T) {
	s := newSite(t, "", "m1")
	s.machines["m1"].kept = "v1.32.9"
	s.change(t, "m1", func(n *corev1.Node) { n.Annotations = map[string]string{drain.CordonedBy: "upgrade"} })
	_, err := s.CoreV1().Nodes().Patch(t.Context(), "m1", types.MergePatchType,
		[]byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{FieldManager: "kubectl"})
	assert.NilError(t, err)
	done, err := s.Clean(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, len(done), 0)
	assert.Assert(t, s.node(t, "m1").Spec.Unschedulable)
	assert.Equal(t, s.happened(), "cordon m1")
}

// The machine was inspected before another rollout had the Lease, which then upgraded it.
func TestAMachineThatAnotherRolloutUpgradedMeanwhileIsLeftAlone(t *testing.T) {
	s := newSite(t, "", "m1")
	other, now, life := "rollout-2", metav1.NowMicro(), int32(60)
	leases := s.CoordinationV1().Leases("kube-system")
	_, err := leases.Create(t.Context(), &coordination.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "argosy-upgrade"},
		Spec:       coordination.LeaseSpec{HolderIdentity: &other, RenewTime: &now, LeaseDurationSeconds: &life},
	}, metav1.CreateOptions{})
	assert.NilError(t, err)
	s.when("waiting for rollout rollout-2", func() {
		m := s.machines["m1"]
		m.staged, m.kept = true, before
		m.runs(after)
		assert.NilError(t, leases.Delete(t.Context(), "argosy-upgrade", metav1.DeleteOptions{}))
	})
	outcome, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Assert(t, !outcome.Changed)
	assert.Equal(t, s.happened(), "")
	assert.Equal(t, s.stands(t, "m1"), after+" succeeded")
}

func TestAMachineWhoseNodeIsGoneCountsAsFailed(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	assert.NilError(t, s.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("nodes"), "", "m1"))
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1", "m2"))
	assert.ErrorContains(t, err, `reading node "m1": the cluster has none of that name`)
	outcome, err := s.upgrade(t.Context(), t, "m2", inWaves("m1", "m2"))
	assert.NilError(t, err)
	assert.Equal(t, outcome.Left, "halted after m1")
	staged, err := s.Stage(t.Context(), s.Cluster.Fleet.Machines[1], inWaves("m1", "m2"), operation.NewLimiter(1),
		operation.NoProgress{})
	assert.NilError(t, err)
	assert.Assert(t, !staged.Changed)
}
