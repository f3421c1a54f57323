package upgrade_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

func TestAMachineIsStagedCordonedDrainedUpgradedAndUncordoned(t *testing.T) {
	s := newSite(t, "", "m1")
	s.pod(t, "m1", "web-0")
	outcome, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, evict web-0, upgrade m1, uncordon m1")
	assert.Equal(t, s.stands(t, "m1"), after+" succeeded")
	assert.Assert(t, outcome.Changed && outcome.From == before && outcome.Unavailable > 0)
	assert.Assert(t, strings.Contains(outcome.String(), "node m1 is Ready at v1.34.4 (was v1.33.13)"), outcome)

	outcome, err = s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Assert(t, !outcome.Changed)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, evict web-0, upgrade m1, uncordon m1")
}

func TestPhasesOfAnUpgradeAreReportedInOrder(t *testing.T) {
	s := newSite(t, "", "m1")
	s.pod(t, "m1", "web-0")
	s.Cluster.Fleet.Upgrade.MinReady.Duration = time.Second
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	var shown []string
	for _, text := range s.progress {
		phase, _, found := strings.Cut(text, "] ")
		if found && !slices.Contains(shown, phase) {
			shown = append(shown, phase)
		}
	}
	// The fake machine's plan counts three phases, and reports none.
	assert.DeepEqual(t, shown, []string{"[1/9 cordon", "[2/9 drain", "[7/9 serving", "[8/9 labels", "[9/9 uncordon"})
}

func TestAFailedUpgradeIsRolledBackAndReported(t *testing.T) {
	s := newSite(t, "", "m1")
	s.machines["m1"].fails = "kubelet"
	outcome, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.ErrorContains(t, err, `upgrading machine "m1" (192.0.2.1): rolled back, Ready at v1.33.13; `+
		"node m1 is uncordoned: machine m1: phase kubelet: it does not start")
	assert.Assert(t, outcome.RolledBack)
	assert.Equal(t, s.node(t, "m1").Annotations["kubeadm.alpha.kubernetes.io/cri-socket"],
		"unix:///run/containerd/containerd.sock")
	assert.Equal(t, s.happened(), "stage m1, cordon m1, upgrade m1, rollback m1, uncordon m1")
	assert.Equal(t, s.stands(t, "m1"), before+" failed")
}

func TestAMachineThatWasNotTouchedNeedsNoRollback(t *testing.T) {
	s := newSite(t, "", "m1")
	s.machines["m1"].fails = "keep"
	outcome, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.ErrorContains(t, err, "it does not start; node m1 is uncordoned")
	assert.Assert(t, !outcome.RolledBack)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, upgrade m1, uncordon m1")
}

func TestAMachineThatCannotBeRolledBackStaysCordoned(t *testing.T) {
	for name, policy := range map[string]string{"it is stuck": "", "the policy": "  rollback: false\n"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "", "m1")
			s.Cluster.Fleet.Upgrade.Rollback = policy == ""
			s.machines["m1"].fails, s.machines["m1"].stuck = "kubelet", true
			_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
			assert.ErrorContains(t, err, "cordoned")
			assert.Equal(t, s.stands(t, "m1"), before+" cordoned by upgrade failed")
		})
	}
}

func TestACordonOfAUserStays(t *testing.T) {
	s := newSite(t, "", "m1")
	s.change(t, "m1", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Equal(t, s.stands(t, "m1"), after+" cordoned by  succeeded")
}

func TestAMachineThatIsRefusedIsNotTouched(t *testing.T) {
	s := newSite(t, "", "m1")
	s.machines["m1"].refuses = "it is another cluster's"
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.ErrorContains(t, err, `upgrading machine "m1" (192.0.2.1): machine m1: phase preflight: it is another cluster's`)
	assert.Equal(t, s.happened(), "")
	assert.Equal(t, s.stands(t, "m1"), before+" failed")
}

func TestTheFailureBudgetHaltsARollout(t *testing.T) {
	for _, budget := range []int{0, 1} {
		s := newSite(t, "", "m1", "m2")
		s.machines["m1"].inspectErr = errclass.With(errclass.Transient, errors.New("no route to host"))
		plan := inWaves("m1", "m2")
		plan.FailureBudget = budget
		_, err := s.upgrade(t.Context(), t, "m1", plan)
		assert.ErrorContains(t, err, "no route to host")
		outcome, err := s.upgrade(t.Context(), t, "m2", plan)
		assert.NilError(t, err)
		if budget == 0 {
			assert.Equal(t, outcome.Left, "halted after m1")
			assert.Equal(t, s.stands(t, "m2"), before+" left")
			assert.Equal(t, s.machines["m2"].asked, 0)
			continue
		}
		assert.Equal(t, s.stands(t, "m2"), after+" succeeded")
	}
}

func TestNothingIsStagedThatWillNotBeBegun(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	m1, _ := s.Cluster.Machine("m1")
	m2, _ := s.Cluster.Machine("m2")
	staged, err := s.Stage(t.Context(), m1, inWaves("m1", "m2"), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Assert(t, staged.Changed && staged.Left == "")
	assert.Equal(t, s.happened(), "stage m1")

	s.machines["m1"].fails = "keep"
	_, err = s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.ErrorContains(t, err, "it does not start")
	staged, err = s.Stage(t.Context(), m2, inWaves("m1", "m2"), operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, staged.String(), "machine m2 was left as it is: halted after m1")
	assert.Equal(t, s.machines["m2"].asked, 0)
}

func TestAShortOutageOfTheAPIServerFailsNothing(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Cluster.Fleet.Limits.RetryBudget.Duration = time.Minute
	var failing sync.Map // each kind of request fails once
	s.PrependReactor("*", "*", func(action ktesting.Action) (bool, runtime.Object, error) {
		_, failed := failing.LoadOrStore(action.GetVerb()+" "+action.GetResource().Resource, true)
		return !failed, nil, apierrors.NewServiceUnavailable("etcd has no leader")
	})
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, upgrade m1, uncordon m1")
	assert.Equal(t, s.stands(t, "m1"), after+" succeeded")
	for _, request := range []string{"list nodes", "get nodes", "patch nodes", "get leases", "create leases"} {
		_, failed := failing.Load(request)
		assert.Assert(t, failed, "no %s", request)
	}
}

func TestPodsThatDoNotLeaveAreHandledByPolicy(t *testing.T) {
	for policy, want := range map[string]struct{ happened, stands, err, left string }{
		"stop":  {"stage m1, cordon m1, uncordon m1", before + " failed", "default/web-0", ""},
		"skip":  {"stage m1, cordon m1, uncordon m1", before + " skipped", "", "default/web-0"},
		"force": {"stage m1, cordon m1, delete web-0, upgrade m1, uncordon m1", after + " succeeded", "", ""},
	} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel() // an eviction that is refused is tried again after five seconds
			s := newSite(t, "", "m1")
			s.Cluster.Fleet.Upgrade.OnDrainTimeout = policy
			s.Cluster.Fleet.Drain.Timeout.Duration = 50 * time.Millisecond
			s.pod(t, "m1", "web-0")
			s.forbidden = []string{"web-0"}
			outcome, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
			if want.err == "" {
				assert.NilError(t, err)
			} else {
				assert.ErrorContains(t, err, want.err)
			}
			assert.Assert(t, strings.Contains(outcome.Left, want.left), outcome.Left)
			assert.Equal(t, s.happened(), want.happened)
			assert.Equal(t, s.stands(t, "m1"), want.stands)
		})
	}
}

func TestWithoutADrainPodsStay(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Cluster.Fleet.Upgrade.Drain = false
	s.pod(t, "m1", "web-0")
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, upgrade m1, uncordon m1")
}

func TestACancellationWhileDrainingUncordonsTheNode(t *testing.T) {
	s := newSite(t, "", "m1")
	s.pod(t, "m1", "web-0")
	s.forbidden = []string{"web-0"}
	ctx, cancel := context.WithCancelCause(t.Context())
	s.when("drain]", func() { cancel(errors.New("terminated")) })
	_, err := s.upgrade(ctx, t, "m1", inWaves("m1"))
	assert.ErrorContains(t, err, "node m1 is uncordoned")
	assert.Equal(t, s.stands(t, "m1"), before+" failed")
}

func TestACancelledUpgradeOnTheMachineIsFinished(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Cluster.Fleet.Upgrade.MinReady.Duration = time.Hour // no test waits that long
	ctx, cancel := context.WithCancelCause(t.Context())
	s.machines["m1"].during = func() { cancel(errors.New("terminated")) }
	_, err := s.upgrade(ctx, t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, upgrade m1, uncordon m1")
	assert.Equal(t, s.stands(t, "m1"), after+" succeeded")
}

func TestTheNextProcessGoesOnWhereOneWasStopped(t *testing.T) {
	s := newSite(t, "", "m1")
	s.pod(t, "m1", "web-0")
	s.forbidden = []string{"web-0"}
	ctx, cancel := context.WithCancelCause(t.Context())
	s.when("drain]", func() { cancel(errStopped) })
	_, err := s.upgrade(ctx, t, "m1", inWaves("m1"))
	assert.Assert(t, err != nil)
	assert.Equal(t, s.stands(t, "m1"), before+" cordoned by upgrade working")

	s.forbidden = nil
	_, err = s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Equal(t, s.stands(t, "m1"), after+" succeeded")
}

func TestTwoRolloutsOfOneClusterExcludeEachOther(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	s.machines["m1"].during = func() {
		other := &upgrade.Upgrader{Joiner: s.Upgrader.Joiner, Rollout: "rollout-2"}
		machine, _ := s.Cluster.Machine("m2")
		plan := inWaves("m2")
		plan.MaxUnavailable = 2
		ctx, cancel := context.WithCancel(t.Context())
		var said string
		_, err := other.Upgrade(ctx, machine, plan, operation.AsText(func(text string) {
			if strings.Contains(text, "waiting for rollout rollout-1") {
				said = text
				cancel()
			}
		}))
		assert.Assert(t, said != "" && errors.Is(err, context.Canceled), err)
	}
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, upgrade m1, uncordon m1")
}

func TestNothingIsBegunWhenTheWindowIsClosed(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Until = time.Now().Add(-time.Minute)
	outcome, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(outcome.Left, "the window closed at"), outcome.Left)
	assert.Equal(t, s.happened(), "")
	gate, err := s.After(t.Context(), inWaves("m1"), rollout.Wave{Name: "1"})
	assert.NilError(t, err)
	assert.Assert(t, gate.Halt != nil && !gate.Approve)
}

// Machines begin until the later of the plan's end and the upgrader's: a plan is made when the workflow could work, and
// a retried workflow may begin a step of its first run's plan.
func TestAPlansWindowCountsFromWhenItWasMade(t *testing.T) {
	past, future := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		upgrader, plan time.Time
		begins         bool
	}{
		"neither has one":     {time.Time{}, time.Time{}, true},
		"the plan's is open":  {past, future, true},
		"the retry's is open": {future, past, true},
		"both are closed":     {past, past, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "", "m1")
			s.Until = test.upgrader
			plan := inWaves("m1")
			plan.Until = test.plan
			outcome, err := s.upgrade(t.Context(), t, "m1", plan)
			assert.NilError(t, err)
			assert.Equal(t, outcome.Left == "", test.begins, outcome.Left)
		})
	}
}

// The canary is skipped, since its pods do not leave. The next wave begins with an approval, whatever the policy.
func TestCanariesThatWereAllSkippedNeedAnApproval(t *testing.T) {
	for _, approval := range []string{"never", "canaries", "always"} {
		for name, skipped := range map[string]bool{"skipped": true, "upgraded": false} {
			t.Run(approval+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := newSite(t, "", "m1", "m2")
				s.Cluster.Fleet.Upgrade.Approval, s.Cluster.Fleet.Upgrade.OnDrainTimeout = approval, "skip"
				s.Cluster.Fleet.Upgrade.Canaries = "m1"
				s.Cluster.Fleet.Drain.Timeout.Duration = 50 * time.Millisecond
				s.pod(t, "m1", "web-0")
				if skipped {
					s.forbidden = []string{"web-0"}
				}
				plan := inWaves("m1", "m2")
				plan.Waves[0].Canary = true
				_, err := s.upgrade(t.Context(), t, "m1", plan)
				assert.NilError(t, err)
				gate, err := s.After(t.Context(), plan, plan.Waves[0])
				assert.NilError(t, err)
				assert.Equal(t, gate.Unproven, skipped)
				assert.Equal(t, gate.Approve, skipped || approval != "never")
			})
		}
	}
}

func TestAnUpgradedMachineIsRolledBackOnRequest(t *testing.T) {
	s := newSite(t, "", "m1")
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	machine, _ := s.Cluster.Machine("m1")
	outcome, err := s.Rollback(t.Context(), machine, operation.NewLimiter(1), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, outcome.Version, before)
	assert.Equal(t, s.node(t, "m1").Status.NodeInfo.KubeletVersion, before)
	assert.Assert(t, !s.node(t, "m1").Spec.Unschedulable)
}

func TestCleaningUpEndsInterruptedUpgrades(t *testing.T) {
	cordoned := func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Annotations = map[string]string{drain.CordonedBy: "upgrade"}
	}
	for name, test := range map[string]struct {
		machine func(*fakeMachine)
		said    string
		stands  string
	}{
		"upgraded, and not uncordoned": {
			func(m *fakeMachine) { m.staged = true; m.kept = before; m.runs(after) },
			"node m1 is at v1.34.4 and uncordoned", after + " succeeded",
		},
		"half upgraded": {
			func(m *fakeMachine) { m.kept = before; m.version = "v1.34.0" },
			"node m1 is at v1.33.13 as before and uncordoned", before,
		},
		"not touched": {
			func(*fakeMachine) {}, "node m1 is at v1.33.13 as before and uncordoned",
			before,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "", "m1")
			s.change(t, "m1", cordoned)
			test.machine(s.machines["m1"])
			done, err := s.Clean(t.Context(), operation.NoProgress{})
			assert.NilError(t, err)
			assert.Equal(t, strings.Join(done, ""), test.said)
			assert.Equal(t, s.stands(t, "m1"), test.stands)
		})
	}
	s := newSite(t, "", "m1")
	s.change(t, "m1", func(n *corev1.Node) { n.Spec.Unschedulable = true })
	done, err := s.Clean(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, len(done), 0)
}

func TestCleaningUpSurvivesAShortOutage(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Cluster.Fleet.Limits.RetryBudget.Duration = time.Minute
	s.change(t, "m1", func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Annotations = map[string]string{drain.CordonedBy: "upgrade"}
	})
	m := s.machines["m1"]
	m.staged, m.kept, m.inspectFails = true, before, 1
	m.runs(after)
	_, err := s.CoordinationV1().Leases("kube-system").Create(t.Context(), &coordination.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "argosy-upgrade"},
		Spec:       coordination.LeaseSpec{HolderIdentity: &s.Rollout},
	}, metav1.CreateOptions{})
	assert.NilError(t, err)
	var failing sync.Map // each kind of request fails once
	s.PrependReactor("*", "*", func(action ktesting.Action) (bool, runtime.Object, error) {
		_, failed := failing.LoadOrStore(action.GetVerb()+" "+action.GetResource().Resource, true)
		return !failed, nil, apierrors.NewServiceUnavailable("etcd has no leader")
	})
	done, err := s.Clean(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, strings.Join(done, ""), "node m1 is at v1.34.4 and uncordoned")
	assert.Equal(t, s.stands(t, "m1"), after+" succeeded")
	for _, request := range []string{"list nodes", "patch nodes", "get leases", "delete leases"} {
		_, failed := failing.Load(request)
		assert.Assert(t, failed, "no %s", request)
	}
}

// A token lives as long as an operation may need it:
//
//	end of the stage                      | tokens meanwhile | afterwards
//	succeeds after a lost connection      | 1                | 0
//	the connection stays lost             | 1                | 0
//	only this process ends                | 1                | 1
func TestATokenLastsUntilNoAttemptIsLeft(t *testing.T) {
	tokens := func(s *site) int {
		list, err := s.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{})
		assert.NilError(t, err)
		return len(list.Items)
	}
	for name, test := range map[string]struct {
		budget time.Duration
		stops  bool
		err    string
		left   int
	}{
		"attached again": {budget: time.Minute},
		"lost for good":  {budget: time.Millisecond, err: "the connection was lost"},
		"process ends":   {budget: time.Minute, stops: true, err: "the process stops", left: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "", "m1")
			s.Cluster.Fleet.Limits.RetryBudget.Duration = test.budget
			s.machines["m1"].watchFails = 1
			machine, _ := s.Cluster.Machine("m1")
			ctx, cancel := context.WithCancelCause(t.Context())
			held := -1
			_, err := s.Stage(ctx, machine, inWaves("m1"), operation.NewLimiter(1), operation.AsText(func(text string) {
				if strings.Contains(text, "the connection was lost; trying again") {
					held = tokens(s)
					if test.stops {
						cancel(errStopped)
					}
				}
			}))
			assert.Equal(t, held, 1, "tokens while the operation went on")
			assert.Equal(t, tokens(s), test.left)
			if test.err == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.err)
		})
	}
}

func TestCleaningUpLeavesMachinesOfAnotherRollout(t *testing.T) {
	s := newSite(t, "", "m1")
	other := &upgrade.Upgrader{Joiner: s.Upgrader.Joiner, Rollout: "rollout-2"}
	s.RenewEvery(10 * time.Millisecond)
	s.machines["m1"].during = func() {
		done, err := other.Clean(t.Context(), operation.NoProgress{})
		assert.NilError(t, err)
		assert.Equal(t, len(done), 0)
		assert.Equal(t, s.stands(t, "m1"), before+" cordoned by upgrade working")
	}
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, upgrade m1, uncordon m1")
}

func TestCleaningUpWaitsForMachinesThatAreAtWork(t *testing.T) {
	s := newSite(t, "", "m1")
	waits, cleaned := make(chan struct{}), make(chan error)
	s.machines["m1"].during = func() {
		var once sync.Once
		go func() {
			_, err := s.Clean(t.Context(), operation.AsText(func(text string) {
				if strings.Contains(text, "waiting for 1 machine ") {
					once.Do(func() { close(waits) })
				}
			}))
			cleaned <- err
		}()
		<-waits
	}
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.NilError(t, err)
	assert.NilError(t, <-cleaned)
	assert.Equal(t, s.happened(), "stage m1, cordon m1, upgrade m1, uncordon m1")
}
