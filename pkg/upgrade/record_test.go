package upgrade

import (
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// replaceNode deletes a node; where again is true, its kubelet makes it again, without annotations.
func (w *waiters) replaceNode(t *testing.T, name string, again bool) {
	t.Helper()
	nodes := w.client.CoreV1().Nodes()
	node, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
	assert.NilError(t, err)
	assert.NilError(t, nodes.Delete(t.Context(), name, metav1.DeleteOptions{}))
	if again {
		_, err = nodes.Create(t.Context(), &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Status: node.Status,
		}, metav1.CreateOptions{})
		assert.NilError(t, err)
	}
}

// process is another process that works on the same rollout.
func (w *waiters) process() *waiters {
	other := &waiters{client: w.client, plan: w.plan, Upgrader: &Upgrader{
		Rollout: w.Rollout, Run: w.Run, Joiner: w.Joiner,
	}}
	other.lease.held.renewed = time.Now().Add(time.Hour)
	return other
}

// m1 has failed or begun, one machine may be out of service, and one may fail. Then its node is deleted, or also made
// again. The answer to m2 is the same in the process that noted m1 and in the next one:
//
//	m1         its node          m2
//	failed     is gone           waits for nothing: m1 counts as out of service
//	failed     was made again    begins: m1 serves, and is in the budget
//	at work    was made again    waits for m1
func TestAMachineStaysAsItWasNotedWhenItsNodeIsGone(t *testing.T) {
	for name, test := range map[string]struct {
		state rollout.State
		again bool
		want  rollout.Decision
	}{
		"failed, gone": {rollout.Failed, false, rollout.Decision{
			Verdict: rollout.Leave, MayPass: true,
			Reason: "m1 is unavailable already, and no more than 1 may be out of service",
		}},
		"failed, made again": {rollout.Failed, true, rollout.Decision{Verdict: rollout.Start}},
		"at work, made again": {rollout.Working, true, rollout.Decision{
			Verdict: rollout.Wait, Reason: "m1 is at work, and no more than 1 may be out of service",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWaiters(t, 3)
			w.plan.FailureBudget = 1
			assert.NilError(t, w.note(t.Context(), "m1", state{State: test.state, Reason: "no disk"}))
			w.replaceNode(t, "m1", test.again)
			for _, process := range []*waiters{w.process(), w} {
				decision, err := process.decide(t.Context(), w.machine(t, "m2"), w.plan, time.Now())
				assert.NilError(t, err)
				assert.Equal(t, decision, test.want)
				if decision.Verdict == rollout.Start {
					break // it is at work now
				}
			}
		})
	}
}

func TestAFailureStaysInTheBudgetWhenItsNodeIsMadeAgain(t *testing.T) {
	w := newWaiters(t, 2)
	assert.NilError(t, w.note(t.Context(), "m1", state{State: rollout.Failed, Reason: "no disk"}))
	w.replaceNode(t, "m1", true)
	decision, err := w.process().decide(t.Context(), w.machine(t, "m2"), w.plan, time.Now())
	assert.NilError(t, err)
	assert.Equal(t, decision, rollout.Decision{Verdict: rollout.Leave, Reason: "halted after m1"})
	_, halt, err := w.process().standing(t.Context(), w.machine(t, "m2"), w.plan)
	assert.NilError(t, err)
	assert.Assert(t, halt != nil)

	// The next run of the workflow begins anew, and another rollout too.
	retried := w.process()
	retried.Run = "2"
	decision, err = retried.decide(t.Context(), w.machine(t, "m1"), w.plan, time.Now())
	assert.NilError(t, err)
	assert.Equal(t, decision.Verdict, rollout.Start)
}

func TestTheRecordEndsWithTheRollout(t *testing.T) {
	w := newWaiters(t, 2)
	for _, name := range []string{"m1", "m2"} {
		assert.NilError(t, w.note(t.Context(), name, state{State: rollout.Working}))
		assert.NilError(t, w.note(t.Context(), name, state{State: rollout.Failed, Reason: "no disk"}))
	}
	configMaps := w.client.CoreV1().ConfigMaps("kube-system")
	found, err := configMaps.Get(t.Context(), w.recordName(), metav1.GetOptions{})
	assert.NilError(t, err)
	assert.Equal(t, len(found.Data), 2)
	assert.Equal(t, found.Annotations[rolloutAnnotation], "rollout-1")
	for ends, kept := range map[rollout.State]int{
		rollout.Failed: 2, rollout.Working: 2, rollout.Succeeded: 1, rollout.Left: 1, rollout.Skipped: 1,
	} {
		assert.NilError(t, w.note(t.Context(), "m1", state{State: ends}))
		found, err = configMaps.Get(t.Context(), w.recordName(), metav1.GetOptions{})
		assert.NilError(t, err)
		assert.Equal(t, len(found.Data), kept, "%s", ends)
	}
	_, err = w.Clean(t.Context(), operation.NoProgress{})
	assert.NilError(t, err)
	_, err = configMaps.Get(t.Context(), w.recordName(), metav1.GetOptions{})
	assert.Assert(t, apierrors.IsNotFound(err), "%v", err)
}

// Another rollout noted m3 as at work, and has not cordoned it yet.
func TestAMachineAtWorkForAnotherRolloutCounts(t *testing.T) {
	w := newWaiters(t, 3)
	w.plan.Waves[0].Machines = []string{"m1", "m2"}
	other := &Upgrader{Rollout: "rollout-2", Joiner: w.Joiner}
	synctest.Test(t, func(t *testing.T) {
		assert.NilError(t, other.note(t.Context(), "m3", state{State: rollout.Working}))
		decide := func() rollout.Decision {
			decision, err := w.decide(t.Context(), w.machine(t, "m1"), w.plan, time.Now())
			assert.NilError(t, err)
			return decision
		}
		assert.Equal(t, decide().Reason, "m3 is unavailable already, and no more than 1 may be out of service")
		time.Sleep(leaseLife) // it was killed, or its Lease is lost, and it begins nothing more
		assert.Equal(t, decide().Verdict, rollout.Start)
	})
}

func TestAReducedNodeTellsTheSame(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "m1", Labels: map[string]string{"rack": "a"}, ResourceVersion: "7",
			Annotations: map[string]string{drain.CordonedBy: "upgrade", Annotation: `{"rollout":"r"}`, "other": "x"},
		},
		Spec: corev1.NodeSpec{Unschedulable: true, PodCIDR: "10.0.0.0/24"},
		Status: corev1.NodeStatus{
			Images: make([]corev1.ContainerImage, 50),
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse},
				{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Message: "no network"},
			},
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.33.13", KernelVersion: "6.1"},
		},
	}
	for _, manager := range []string{"argosy", "kubectl"} {
		node.ManagedFields = []metav1.ManagedFieldsEntry{
			{Manager: "kubelet", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{}}}`)}},
			{Manager: manager, FieldsV1: &metav1.FieldsV1{
				Raw: []byte(`{"f:spec":{"f:unschedulable":{},"f:taints":{}}}`),
			}},
		}
		small := reduced(node)
		assert.Equal(t, drain.Owns(small, "upgrade"), drain.Owns(node, "upgrade"), manager)
		assert.Equal(t, len(small.ManagedFields), 1)
		assert.Equal(t, join.NotReady(small, "v1.33.13"), "node m1 is not Ready: no network")
		assert.Equal(t, stateOf(small), stateOf(node))
		assert.DeepEqual(t, small.Labels, node.Labels)
		assert.Equal(t, small.Status.NodeInfo.KubeletVersion, "v1.33.13")
		assert.Equal(t, len(small.Status.Images)+len(small.Status.Conditions)+len(small.Annotations), 3)
	}
}
