package remove_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/drain/draintest"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/remove"
	"argosy.dev/argosy/pkg/reset"
)

// fakeMachine answers as argosy-node would, and records the changes of its node while it worked.
type fakeMachine struct {
	mu         sync.Mutex
	facts      spec.Facts
	plan       spec.Status
	result     spec.Status
	startError error
	inspectErr error
	onStart    func()
	started    int
}

func (m *fakeMachine) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inspectErr != nil {
		return spec.Facts{}, m.inspectErr
	}
	facts, plan := m.facts, m.plan
	plan.ID = question.Operations["amd64"].ID
	facts.Arch, facts.Plan = "amd64", &plan
	return facts, nil
}

func (m *fakeMachine) Start(_ context.Context, op spec.Operation) (spec.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.startError != nil {
		return spec.Status{}, m.startError
	}
	m.started++
	if m.onStart != nil {
		m.onStart()
	}
	return spec.Status{ID: op.ID, State: spec.Running}, nil
}

func (m *fakeMachine) Watch(_ context.Context, _ string, each func(spec.Status)) (spec.Status, error) {
	running := m.result
	running.Index, running.Phase, running.Message = 3, "pods", "ending pods"
	each(running)
	if m.result.State == spec.Succeeded {
		m.facts.Record, m.facts.Kubelet.Active, m.plan = nil, false, planOf(spec.Held)
	}
	return m.result, nil
}

func (m *fakeMachine) Cancel(context.Context, string) error { return nil }

func planOf(outcome spec.Outcome) spec.Status {
	return spec.Status{Total: 10, Phases: []spec.Phase{
		{Name: "preflight", Outcome: spec.Held, Detail: "the machine is node n1 of cluster team-a"},
		{Name: "pods", Outcome: outcome, Detail: "process web (pid 901)"},
		{Name: "prove", Outcome: outcome, Detail: "nothing is left"},
	}}
}

// joined is a machine that is node n1.
func joined() *fakeMachine {
	done := planOf(spec.Applied)
	done.State, done.Changed = spec.Succeeded, true
	return &fakeMachine{plan: planOf(spec.Wanted), result: done, facts: spec.Facts{
		Record: &spec.Record{NodeName: "n1"}, Addresses: []string{"192.0.2.1"}, Kubelet: spec.Kubelet{Active: true},
	}}
}

// clean is a machine on which there is nothing.
func clean() *fakeMachine {
	return &fakeMachine{plan: planOf(spec.Held), facts: spec.Facts{Addresses: []string{"192.0.2.1"}}}
}

// node is n1, of which the control plane reports that it is Ready, or not, or that it does not know.
func node(ready corev1.ConditionStatus, changes ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "n1", UID: "node-uid",
			Labels: map[string]string{corev1.LabelHostname: "n1"},
		},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{
			Type:    corev1.NodeInternalIP,
			Address: "192.0.2.1",
		}}},
	}
	if ready != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	}
	for _, change := range changes {
		change(n)
	}
	return n
}

func cordonedBy(whom string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		if whom != "" {
			n.Annotations = map[string]string{drain.CordonedBy: whom}
		}
	}
}

func at(address string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Addresses[0].Address = address }
}

func pod(name string, owned bool) *corev1.Pod {
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "uid"},
		Spec:       corev1.PodSpec{NodeName: "n1"},
	}
	if owned {
		p.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "StatefulSet", Name: "web",
			Controller: &yes,
		}}
	}
	return p
}

// cluster evicts pods, except those of a name that its budget forbids.
type cluster struct {
	*fake.Clientset
	forbidden string
}

func newCluster(objects ...runtime.Object) *cluster {
	c := &cluster{Clientset: fake.NewClientset(objects...)}
	draintest.Evict(c.Clientset, func(eviction *policyv1.Eviction) error {
		if eviction.Name == c.forbidden {
			return draintest.Held()
		}
		return nil
	})
	return c
}

// node reads n1; nil when it is gone.
func (c *cluster) node(t *testing.T) *corev1.Node {
	t.Helper()
	list, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	if len(list.Items) == 0 {
		return nil
	}
	return &list.Items[0]
}

func (c *cluster) pods(t *testing.T) int {
	t.Helper()
	list, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	return len(list.Items)
}

func newRemover(t *testing.T, machine *fakeMachine, c *cluster) *remove.Remover {
	t.Helper()
	documents, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(`
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines:
  - {name: m1, address: 192.0.2.1, nodeName: n1}
  - {name: m2, address: 192.0.2.2}
`))
	assert.NilError(t, err)
	documents.Fleet.Limits.RetryBudget.Duration = 100 * time.Millisecond
	return &remove.Remover{Resetter: &reset.Resetter{
		Cluster: documents,
		Connect: func(context.Context) (*join.Target, error) {
			return &join.Target{Client: c, UID: "uid-a", CACert: "PEM"}, nil
		},
		Machine: func(config.Machine) operation.Machine {
			if machine == nil {
				t.Error("the machine is contacted")
			}
			return machine
		},
	}}
}

// drained are the options of a workflow's defaults, with less time.
func drained() remove.Options {
	options := remove.Options{Drain: true, Policy: config.Defaults().Fleet.Drain}
	options.Policy.Timeout.Duration = 3 * time.Second
	return options
}

func run(t *testing.T, remover *remove.Remover, options remove.Options) (outcome remove.Outcome, said string,
	err error,
) {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	outcome, err = remover.Remove(t.Context(), remover.Cluster.Fleet.Machines[0], options, operation.NewLimiter(1),
		operation.AsText(func(text string) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, text)
		}))
	return outcome, strings.Join(lines, "\n"), err
}

func plan(t *testing.T, remover *remove.Remover, options remove.Options) remove.Entry {
	t.Helper()
	entries, err := remover.Plan(t.Context(), remover.Cluster.Fleet.Machines[:1], options, operation.NoProgress{})
	assert.NilError(t, err)
	return entries[0]
}

func TestAMachineLeavesCordonedDrainedCleanAndWithoutItsNode(t *testing.T) {
	c := newCluster(node(corev1.ConditionTrue), pod("web-0", true), pod("web-1", true))
	machine := joined()
	machine.onStart = func() {
		assert.Equal(t, c.pods(t), 0, "pods when the machine begins")
		assert.Assert(t, c.node(t).Spec.Unschedulable)
	}
	outcome, said, err := run(t, newRemover(t, machine, c), drained())
	assert.NilError(t, err)
	assert.Assert(t, c.node(t) == nil && machine.started == 1)
	assert.Assert(t, strings.Contains(outcome.String(),
		"(2 pods evicted, pods, prove, node n1 deleted): nothing is left"), outcome.String())
	for _, line := range []string{
		"[1/13 cordon] cordoning node n1", "[2/13 drain] ",
		"[5/13 pods] ending pods", "[13/13 node] deleting node n1",
	} {
		assert.Assert(t, strings.Contains(said, line), said)
	}
}

func TestARemovedMachineWasCleanAlready(t *testing.T) {
	machine := clean()
	remover := newRemover(t, machine, newCluster())
	assert.Equal(t, plan(t, remover, drained()).Action, remove.ActionNothing)
	outcome, _, err := run(t, remover, drained())
	assert.NilError(t, err)
	assert.Assert(t, !outcome.Changed && machine.started == 0)
	assert.Equal(t, outcome.String(), "machine m1 was clean already: nothing is left")
	findings, err := remover.Verify(t.Context(), remover.Cluster.Fleet.Machines[:1], drained())
	assert.NilError(t, err)
	assert.DeepEqual(t, findings, []reset.Finding{{Machine: "m1", Proof: "nothing is left"}})
}

func TestAMachineWithoutANodeIsOnlyReset(t *testing.T) {
	machine := joined()
	outcome, said, err := run(t, newRemover(t, machine, newCluster()), drained())
	assert.NilError(t, err)
	assert.Assert(t, outcome.Changed && !strings.Contains(said, "cordon"), said)
}

func TestAnotherMachinesNodeIsNeverTouched(t *testing.T) {
	c := newCluster(node(corev1.ConditionTrue, at("192.0.2.7")), pod("web-0", true))
	machine := joined()
	machine.facts.Record = nil
	outcome, _, err := run(t, newRemover(t, machine, c), drained())
	assert.NilError(t, err)
	assert.Assert(t, !c.node(t).Spec.Unschedulable && c.pods(t) == 1)
	assert.Assert(t, strings.Contains(outcome.String(), "node n1 is another machine's and stays"), outcome.String())
}

// A removal that a budget stops takes its own cordon back, and no other:
//
//	the node before        after
//	takes pods             takes pods
//	cordoned by a removal  takes pods: that one was interrupted
//	cordoned by a user     cordoned
func TestAForbiddenEvictionUncordonsTheNode(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before   *corev1.Node
		cordoned bool
	}{
		"takes pods":            {node(corev1.ConditionTrue), false},
		"cordoned by a removal": {node(corev1.ConditionTrue, cordonedBy("remove")), false},
		"cordoned by a user":    {node(corev1.ConditionTrue, cordonedBy("")), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(test.before, pod("web-0", true))
			c.forbidden = "web-0"
			machine := joined()
			_, said, err := run(t, newRemover(t, machine, c), drained())
			assert.ErrorContains(t, err, `removing machine "m1" (192.0.2.1): draining node n1: after 3s 1 of 1 pods are left: default/web-0 of StatefulSet web (Cannot evict pod`)
			assert.Equal(t, strings.Contains(err.Error(), "node n1 is uncordoned"), !test.cordoned)
			assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
			assert.Equal(t, c.node(t).Spec.Unschedulable, test.cordoned)
			assert.Equal(t, machine.started, 0)
			assert.Assert(t, strings.Contains(said, "[2/13 drain] 1 of 1 pods left, waiting for default/web-0 "+
				"(Cannot evict pod"), said)
		})
	}
}

func TestAPodWithoutAControllerRefusesTheRemovalUnlessForced(t *testing.T) {
	c := newCluster(node(corev1.ConditionTrue), pod("debug", false))
	machine := joined()
	remover := newRemover(t, machine, c)
	entry := plan(t, remover, drained())
	assert.Equal(t, entry.Action, remove.ActionRefuse)
	assert.DeepEqual(t, entry.Reasons, []string{"no controller brings back default/debug: delete them, or say force"})
	_, _, err := run(t, remover, drained())
	assert.ErrorContains(t, err, "no controller brings back default/debug")
	assert.Assert(t, !c.node(t).Spec.Unschedulable && c.pods(t) == 1 && machine.started == 0)

	options := drained()
	options.Policy.Force = true
	_, _, err = run(t, remover, options)
	assert.NilError(t, err)
	assert.Assert(t, c.node(t) == nil && c.pods(t) == 0)
}

func TestWithoutADrainPodsEndWithTheMachine(t *testing.T) {
	c := newCluster(node(corev1.ConditionTrue), pod("debug", false))
	c.forbidden = "debug"
	machine := joined()
	machine.onStart = func() { assert.Assert(t, c.node(t).Spec.Unschedulable) }
	remover := newRemover(t, machine, c)
	entry := plan(t, remover, remove.Options{})
	assert.Equal(t, entry.Action, remove.ActionRemove)
	assert.Equal(t, entry.Reasons[0], "1 pod of node n1 to end with the machine: nothing is drained")
	_, said, err := run(t, remover, remove.Options{})
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(said, "[1/12 cordon]") && c.node(t) == nil, said)
}

// The state of the machine after a failure decides whether its node is uncordoned:
//
//	it refused to begin, sshd is gone   stays cordoned: whether it began is not known
//	it failed on its way                stays cordoned: it is half a node
func TestANodeOfAMachineThatBeganStaysCordoned(t *testing.T) {
	failed := planOf(spec.Applied)
	failed.State, failed.Error = spec.Failed, &spec.Error{
		Class: errclass.Permanent, Phase: "prove",
		Message: "link cni0 is left",
	}
	lost := joined()
	lost.startError = errclass.With(errclass.Transient, errors.New("connection reset"))
	half := joined()
	half.result = failed
	for name, machine := range map[string]*fakeMachine{"lost": lost, "half": half} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(node(corev1.ConditionTrue))
			_, _, err := run(t, newRemover(t, machine, c), drained())
			assert.ErrorContains(t, err, "node n1 stays cordoned")
			assert.Assert(t, c.node(t).Spec.Unschedulable)
		})
	}
}

func TestAnInterruptedRemovalGoesOn(t *testing.T) {
	t.Run("with the node left to delete", func(t *testing.T) {
		c := newCluster(node(corev1.ConditionUnknown, cordonedBy("remove")))
		remover := newRemover(t, clean(), c)
		assert.Equal(t, plan(t, remover, drained()).Action, remove.ActionRemove)
		findings, err := remover.Verify(t.Context(), remover.Cluster.Fleet.Machines[:1], drained())
		assert.NilError(t, err)
		assert.DeepEqual(t, findings[0].Problems, []string{"the machine is clean", "node: n1 in the cluster"})
		outcome, _, err := run(t, remover, drained())
		assert.NilError(t, err)
		assert.Assert(t, outcome.Changed && c.node(t) == nil)
	})
	t.Run("with the node half drained", func(t *testing.T) {
		c := newCluster(node(corev1.ConditionTrue, cordonedBy("remove")), pod("web-1", true))
		_, _, err := run(t, newRemover(t, joined(), c), drained())
		assert.NilError(t, err)
		assert.Assert(t, c.node(t) == nil && c.pods(t) == 0)
	})
}

func TestACancelledRemovalUncordonsUnlessAnotherProcessGoesOn(t *testing.T) {
	t.Parallel()
	reason := errors.New("stopped")
	for name, detached := range map[string]bool{"cancelled": false, "detached": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(node(corev1.ConditionTrue), pod("web-0", true))
			c.forbidden = "web-0"
			remover := newRemover(t, joined(), c)
			remover.Detached = func(error) bool { return detached }
			options := drained()
			options.Policy.Timeout.Duration = time.Hour
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err := remover.Remove(ctx, remover.Cluster.Fleet.Machines[0], options, operation.NewLimiter(1),
				operation.AsText(func(text string) {
					if strings.Contains(text, "waiting for default/web-0") {
						cancel(reason)
					}
				}))
			assert.ErrorIs(t, err, reason)
			assert.Equal(t, c.node(t).Spec.Unschedulable, detached)
		})
	}
}

// Of an unreachable machine, the node is
//
//	Ready or not ready, by its kubelet's own word   refused: it is alive
//	silent                                          deleted
//	never heard of                                  deleted
//	silent, at another machine's address            refused: it is that machine's
func TestOnlyADeadMachinesNodeIsRemovedWithoutAskingIt(t *testing.T) {
	for name, test := range map[string]struct {
		node   *corev1.Node
		action remove.Action
		says   string
	}{
		"Ready":     {node(corev1.ConditionTrue), remove.ActionRefuse, "remove it without unreachable"},
		"not Ready": {node(corev1.ConditionFalse), remove.ActionRefuse, "the machine is alive"},
		"silent":    {node(corev1.ConditionUnknown), remove.ActionRemove, "was not contacted: its credentials"},
		"silent, elsewhere": {
			node(corev1.ConditionUnknown, at("192.0.2.99")), remove.ActionRemove,
			"was not contacted",
		},
		"never heard of":    {node(""), remove.ActionRemove, "was not contacted"},
		"another machine's": {node(corev1.ConditionUnknown, at("192.0.2.2")), remove.ActionRefuse, "is that machine's"},
		"none":              {nil, remove.ActionNothing, "has no node"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			if test.node != nil {
				c = newCluster(test.node)
			}
			remover := newRemover(t, nil, c)
			options := remove.Options{Unreachable: true, Policy: drained().Policy}
			entry := plan(t, remover, options)
			assert.Equal(t, entry.Action, test.action)
			assert.Assert(t, strings.Contains(remove.Table([]remove.Entry{entry}), test.says), entry.Reasons)

			outcome, _, err := run(t, remover, options)
			if test.action == remove.ActionRefuse {
				assert.ErrorContains(t, err, test.says)
				assert.Assert(t, !c.node(t).Spec.Unschedulable)
				return
			}
			assert.NilError(t, err)
			assert.Assert(t, c.node(t) == nil && strings.Contains(outcome.String(),
				"if it starts again, it registers again"), outcome.String())
			assert.Equal(t, outcome.Changed, test.node != nil)
			findings, err := remover.Verify(t.Context(), remover.Cluster.Fleet.Machines[:1], options)
			assert.NilError(t, err)
			assert.Equal(t, len(reset.Unsound(findings)), 0)
		})
	}
}

func TestThePlanListsEvictionsObstaclesAndLostData(t *testing.T) {
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}, Spec: corev1.PersistentVolumeSpec{
		ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: "data"},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"},
				}},
			}},
		}},
	}}
	c := newCluster(node(corev1.ConditionTrue), pod("web-0", true), pod("web-1", true), volume)
	c.forbidden = "web-0"
	entry := plan(t, newRemover(t, joined(), c), drained())
	assert.Equal(t, entry.Action, remove.ActionRemove)
	assert.Equal(t, strings.Join(entry.Reasons, "\n"), `2 pods of node n1 to evict
will be waited for: default/web-0 of StatefulSet web (Cannot evict pod as it would violate the pod's disruption budget.)
volumes on this machine, whose data stays on the machine, and their pods can run nowhere else: default/data
preflight: the machine is node n1 of cluster team-a
pods: process web (pid 901)
node: n1 in the cluster`)
	assert.Equal(t, len(entry.Warnings), 2)
	assert.Assert(t, c.pods(t) == 2 && !c.node(t).Spec.Unschedulable)
}

func TestAnUnreachableMachineIsRefusedWithTheWayOut(t *testing.T) {
	machine := joined()
	machine.inspectErr = errclass.With(errclass.Transient, errors.New("no route to host"))
	c := newCluster(node(corev1.ConditionUnknown))
	entry := plan(t, newRemover(t, machine, c), drained())
	assert.Equal(t, entry.Action, remove.ActionRefuse)
	assert.DeepEqual(t, entry.Reasons, []string{"no route to host", "if the machine is gone for good, " +
		"remove it with unreachable=true (argosy remove --unreachable)"})
	assert.Assert(t, !c.node(t).Spec.Unschedulable)
}
