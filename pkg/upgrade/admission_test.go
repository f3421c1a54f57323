package upgrade

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// waiters is a cluster of machines m1, m2, … that are all in one wave and may begin one after another.
type waiters struct {
	*Upgrader
	client *fake.Clientset
	plan   *rollout.Plan
	lists  atomic.Int64
	// leasesFail: the API server does not answer requests for the Lease.
	leasesFail atomic.Bool
}

func newWaiters(t *testing.T, count int) *waiters {
	t.Helper()
	w := &waiters{client: fake.NewClientset(), plan: &rollout.Plan{MaxUnavailable: 1}}
	documents := "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\nssh: {trustOnFirstUse: true}\nmachines:\n"
	wave := rollout.Wave{Name: "1"}
	for i := range count {
		name := fmt.Sprintf("m%d", i+1)
		documents += fmt.Sprintf("  - {name: %s, address: 192.0.2.%d}\n", name, i+1)
		wave.Machines = append(wave.Machines, name)
		assert.NilError(t, w.client.Tracker().Add(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: corev1.NodeStatus{
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
				NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.33.13"},
			},
		}))
	}
	w.plan.Waves = []rollout.Wave{wave}
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"+
		"controlPlane: {distro: {k8s: {version: v1.34.4}}}\n"),
		[]byte(documents+"upgrade: {nodeGrace: 0s}\n"))
	assert.NilError(t, err)
	w.Upgrader = &Upgrader{Rollout: "rollout-1", Joiner: &join.Joiner{
		Cluster: cluster, Version: "v1.34.4",
		Target: &join.Target{Client: w.client},
	}}
	w.lease.held.renewed = time.Now().Add(time.Hour) // it has the Lease
	w.client.PrependReactor("*", "leases", func(ktesting.Action) (bool, runtime.Object, error) {
		return w.leasesFail.Load(), nil, apierrors.NewServiceUnavailable("etcd has no leader")
	})
	w.client.PrependReactor("list", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		w.lists.Add(1)
		return false, nil, nil
	})
	return w
}

func (w *waiters) machine(t *testing.T, name string) config.Machine {
	t.Helper()
	machine, known := w.Cluster.Machine(name)
	assert.Assert(t, known)
	return machine
}

func TestMachinesThatWaitShareOneListOfNodesATick(t *testing.T) {
	const machines, ticks = 40, 10
	w := newWaiters(t, machines)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		var begun atomic.Int64
		for i := range machines {
			machine := w.machine(t, fmt.Sprintf("m%d", i+1))
			group.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond) // they do not come at the same moment
				if w.admit(ctx, machine, w.plan, operation.NoProgress{}) == nil {
					begun.Add(1)
				}
			})
		}
		time.Sleep(admitEvery)
		synctest.Wait()
		came := w.lists.Load()
		assert.Assert(t, came <= machines+1, "%d lists while they came", came)
		time.Sleep(ticks * admitEvery)
		synctest.Wait()
		assert.Equal(t, w.lists.Load()-came, int64(ticks))
		cancel()
		group.Wait()
		assert.Equal(t, begun.Load(), int64(1))
	})
}

func TestADecisionSeesEveryMachineThatBeganBefore(t *testing.T) {
	w := newWaiters(t, 3)
	synctest.Test(t, func(t *testing.T) { // no decision is by an old list
		w.plan.MaxUnavailable = 2
		began := time.Now()
		for name, want := range map[string]rollout.Verdict{"m1": rollout.Start, "m2": rollout.Start} {
			decision, err := w.decide(t.Context(), w.machine(t, name), w.plan, began)
			assert.NilError(t, err)
			assert.Equal(t, decision.Verdict, want)
		}
		decision, err := w.decide(t.Context(), w.machine(t, "m3"), w.plan, began)
		assert.NilError(t, err)
		assert.Equal(t, decision.Verdict, rollout.Wait)
		assert.Equal(t, decision.Reason, "m1, m2 are at work, and no more than 2 may be out of service")
		assert.NilError(t, w.note(t.Context(), "m1", state{State: rollout.Failed, Reason: "no disk"}))
		decision, err = w.decide(t.Context(), w.machine(t, "m3"), w.plan, began)
		assert.NilError(t, err)
		assert.Equal(t, decision.Reason, "halted after m1")
		assert.Equal(t, w.lists.Load(), int64(1))
	})
}

func TestAWaveWaitsForMachinesOfTheWaveBefore(t *testing.T) {
	w := newWaiters(t, 3)
	w.plan = &rollout.Plan{MaxUnavailable: 3, Waves: []rollout.Wave{
		{Name: "canary", Machines: []string{"m1", "m2"}}, {Name: "1", Machines: []string{"m3"}},
	}}
	assert.NilError(t, w.note(t.Context(), "m1", state{State: rollout.Working}))
	decision, err := w.decide(t.Context(), w.machine(t, "m3"), w.plan, time.Now())
	assert.NilError(t, err)
	assert.Equal(t, decision.Reason, "waiting for wave canary: m1 is at work")

	// The step of m2 ended before m2 began, which must not keep m3 waiting for ever.
	assert.NilError(t, w.note(t.Context(), "m1", state{State: rollout.Succeeded}))
	decision, err = w.decide(t.Context(), w.machine(t, "m3"), w.plan, time.Now())
	assert.NilError(t, err)
	assert.Equal(t, decision.Verdict, rollout.Start)
}
