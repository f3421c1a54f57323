package upgrade

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	coordination "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// renewAs has the Lease held by a rollout that wrote a time.
func (w *waiters) renewAs(t *testing.T, holder string, at time.Time) {
	t.Helper()
	leases, renewed := w.client.CoordinationV1().Leases("kube-system"), metav1.NewMicroTime(at)
	found, err := leases.Get(t.Context(), leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(t.Context(), &coordination.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: leaseName},
			Spec:       coordination.LeaseSpec{HolderIdentity: &holder, RenewTime: &renewed},
		}, metav1.CreateOptions{})
		assert.NilError(t, err)
		return
	}
	assert.NilError(t, err)
	found.Spec.HolderIdentity, found.Spec.RenewTime = &holder, &renewed
	_, err = leases.Update(t.Context(), found, metav1.UpdateOptions{})
	assert.NilError(t, err)
}

func (w *waiters) holder(t *testing.T) string {
	t.Helper()
	found, err := w.client.CoordinationV1().Leases("kube-system").Get(t.Context(), leaseName, metav1.GetOptions{})
	assert.NilError(t, err)
	return holderOf(found)
}

// The other rollout's clock is an hour early, right, or an hour late. Its Lease is taken where it does not change for
// leaseLife, and in no case before.
func TestALeaseExpiresByTheTimeThatItIsSeenUnchanged(t *testing.T) {
	for name, skew := range map[string]time.Duration{"early": -time.Hour, "right": 0, "late": time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWaiters(t, 1)
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				began := time.Now()
				w.renewAs(t, "rollout-2", began.Add(skew))
				waiting := make(chan func())
				go func() {
					release, err := w.holdLease(ctx, operation.NoProgress{})
					assert.Check(t, err)
					waiting <- release
				}()
				for range 4 { // it lives for another minute
					time.Sleep(leaseRenews)
					w.renewAs(t, "rollout-2", time.Now().Add(skew))
				}
				time.Sleep(leaseLife - 2*leaseAsks)
				assert.Equal(t, w.holder(t), "rollout-2")
				release := <-waiting
				assert.Equal(t, w.holder(t), "rollout-1")
				assert.Assert(t, time.Since(began) <= 2*leaseLife+2*leaseAsks)
				release()
			})
		})
	}
}

func TestNoMachineBeginsWhileTheLeaseIsLost(t *testing.T) {
	for name, test := range map[string]struct {
		lose, regain func(t *testing.T, w *waiters)
		// after is when it is lost: a renewal shows it, or the Lease has expired.
		after time.Duration
		why   string
	}{
		"to another rollout": {
			func(t *testing.T, w *waiters) { w.renewAs(t, "rollout-2", time.Now()) },
			func(t *testing.T, w *waiters) {
				assert.NilError(t, w.client.CoordinationV1().Leases("kube-system").Delete(t.Context(), leaseName,
					metav1.DeleteOptions{}))
			},
			leaseRenews + leaseAsks,
			"waiting for rollout rollout-2",
		},
		"since it can't be renewed": {
			func(_ *testing.T, w *waiters) { w.leasesFail.Store(true) },
			func(_ *testing.T, w *waiters) { w.leasesFail.Store(false) },
			leaseLife + leaseAsks,
			"no machine begins until the Lease can be renewed: taking Lease kube-system/argosy-upgrade",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWaiters(t, 2)
			w.plan.MaxUnavailable = 2
			synctest.Test(t, func(t *testing.T) {
				release, err := w.holdLease(t.Context(), operation.NoProgress{})
				assert.NilError(t, err)
				test.lose(t, w)
				time.Sleep(test.after)
				decision, err := w.decide(t.Context(), w.machine(t, "m1"), w.plan, time.Now())
				assert.NilError(t, err)
				assert.Equal(t, decision.Verdict, rollout.Wait)
				assert.Assert(t, strings.Contains(decision.Reason, test.why), decision.Reason)
				_, err = w.tryLease(t.Context())
				assert.Assert(t, errors.As(err, new(errWait)), "%v", err)

				test.regain(t, w)
				time.Sleep(2 * leaseAsks)
				decision, err = w.decide(t.Context(), w.machine(t, "m1"), w.plan, time.Now())
				assert.NilError(t, err)
				assert.Equal(t, decision.Verdict, rollout.Start, decision.Reason)
				release()
			})
		})
	}
}

// A machine that has begun goes on: half an upgrade is worse than a Lease that is lost.
func TestAMachineAtWorkGoesOnWithoutTheLease(t *testing.T) {
	w := newWaiters(t, 1)
	assert.NilError(t, w.note(t.Context(), "m1", state{State: rollout.Working}))
	w.lease.held = held{why: takenBy("rollout-2")}
	decision, err := w.decide(t.Context(), w.machine(t, "m1"), w.plan, time.Now())
	assert.NilError(t, err)
	assert.Equal(t, decision.Verdict, rollout.Start)
}

func TestTheLeaseHasAClientOfItsOwn(t *testing.T) {
	w := newWaiters(t, 1)
	own := fake.NewClientset()
	w.Leases = own.CoordinationV1()
	w.client.PrependReactor("*", "leases", func(action ktesting.Action) (bool, runtime.Object, error) {
		t.Errorf("the cluster's client was asked to %s the Lease", action.GetVerb())
		return false, nil, nil
	})
	release, err := w.holdLease(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
	release()
	found, err := own.CoordinationV1().Leases("kube-system").Get(t.Context(), leaseName, metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, holderOf(found), "rollout-1")
	_, err = w.Clean(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
}

// The Lease of another rollout is
//
//	renewed         it is at work
//	not renewed     it was killed
func TestAnotherRolloutIsAtWorkWhileItRenewsItsLease(t *testing.T) {
	for name, renews := range map[string]bool{"renewed": true, "not renewed": false} {
		t.Run(name, func(t *testing.T) {
			w := newWaiters(t, 1)
			synctest.Test(t, func(t *testing.T) {
				w.renewAs(t, "rollout-2", time.Now().Add(-time.Hour))
				if renews {
					go func() {
						time.Sleep(leaseRenews)
						w.renewAs(t, "rollout-2", time.Now().Add(-time.Hour))
					}()
				}
				other, err := w.otherRollout(t.Context(), operation.NoProgress{})
				assert.NilError(t, err)
				assert.Equal(t, other == "rollout-2", renews, other)
			})
		})
	}
}
