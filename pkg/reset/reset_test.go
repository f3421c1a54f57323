package reset_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// fakeMachine answers as argosy-node would and records the requests.
type fakeMachine struct {
	mu            sync.Mutex
	plan          spec.Status
	facts         spec.Facts
	inspectErrors []error // returned first, one a call
	result        spec.Status
	onStart       func()

	started []spec.Operation
}

func (m *fakeMachine) Inspect(_ context.Context, question spec.Question) (spec.Facts, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.inspectErrors) > 0 {
		err := m.inspectErrors[0]
		m.inspectErrors = m.inspectErrors[1:]
		return spec.Facts{}, err
	}
	facts, plan := m.facts, m.plan
	facts.Arch = "arm64"
	plan.ID = question.Operations["arm64"].ID
	facts.Plan = &plan
	return facts, nil
}

func (m *fakeMachine) Start(_ context.Context, op spec.Operation) (spec.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.started = append(m.started, op)
	if m.onStart != nil {
		m.onStart()
	}
	return spec.Status{ID: op.ID, State: spec.Running, Total: 10}, nil
}

func (m *fakeMachine) Watch(_ context.Context, _ string, each func(spec.Status)) (spec.Status, error) {
	each(m.result)
	// Its former state is forgotten now.
	m.facts.Record = nil
	m.plan = planOf(spec.Held)
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

// joined is a machine that is node n1, by its own record, and can be reset.
func joined() *fakeMachine {
	done := planOf(spec.Applied)
	done.State, done.Changed = spec.Succeeded, true
	return &fakeMachine{
		plan: planOf(spec.Wanted), result: done,
		facts: spec.Facts{Record: &spec.Record{NodeName: "n1"}, Addresses: []string{"192.0.2.1", "10.244.1.1"}},
	}
}

// clean is a machine on which there is nothing.
func clean() *fakeMachine {
	return &fakeMachine{plan: planOf(spec.Held), facts: spec.Facts{Addresses: []string{"192.0.2.1"}}}
}

func node(name, address string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "node-uid"}}
	if address != "" {
		n.Status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: name},
			{Type: corev1.NodeInternalIP, Address: address},
		}
	}
	return n
}

func newResetter(t *testing.T, machine *fakeMachine, client *fake.Clientset) *reset.Resetter {
	t.Helper()
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(`
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines:
  - {name: m1, address: 192.0.2.1, nodeName: n1}
`))
	assert.NilError(t, err)
	return &reset.Resetter{
		Cluster: cluster,
		Connect: func(context.Context) (*join.Target, error) {
			if client == nil {
				return nil, errors.New("connection refused")
			}
			return &join.Target{Client: client, UID: "uid-a", CACert: "PEM"}, nil
		},
		Machine: func(config.Machine) operation.Machine { return machine },
	}
}

func run(t *testing.T, resetter *reset.Resetter, options reset.Options) (reset.Outcome, []string, error) {
	t.Helper()
	var said []string
	outcome, err := resetter.Reset(t.Context(), resetter.Cluster.Fleet.Machines[0], options, operation.NewLimiter(1),
		operation.AsText(func(text string) { said = append(said, text) }))
	return outcome, said, err
}

func nodes(t *testing.T, client *fake.Clientset) int {
	t.Helper()
	list, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	assert.NilError(t, err)
	return len(list.Items)
}

func TestAMachineIsCleanedAndThenItsNodeDeleted(t *testing.T) {
	client := fake.NewClientset(node("n1", "192.0.2.1"))
	machine := joined()
	machine.onStart = func() { assert.Equal(t, nodes(t, client), 1, "nodes while the machine works") }
	outcome, said, err := run(t, newResetter(t, machine, client), reset.Options{})
	assert.NilError(t, err)
	assert.Equal(t, nodes(t, client), 0)
	assert.Assert(t, outcome.Changed)
	assert.Equal(t, outcome.Proof, "nothing is left")
	assert.Assert(t, strings.Contains(outcome.String(), "pods, prove, node n1 deleted"), outcome.String())
	assert.Equal(t, said[len(said)-1], "[11/11 node] deleting node n1")
	wanted := machine.started[0].Reset
	assert.DeepEqual(t, *wanted, spec.Reset{
		ClusterUID: "uid-a", CACert: "PEM", BinariesPath: "/usr/local/bin", CNIBinariesPath: "/opt/cni/bin",
		CACertPath: "/etc/kubernetes/pki/ca.crt", VolumesPath: "/opt/local-path-provisioner",
	})
}

func TestACleanMachineIsNotWorkedOn(t *testing.T) {
	machine, client := clean(), fake.NewClientset()
	outcome, _, err := run(t, newResetter(t, machine, client), reset.Options{})
	assert.NilError(t, err)
	assert.Assert(t, !outcome.Changed && len(machine.started) == 0)
	assert.Equal(t, outcome.String(), "machine m1 was clean already: nothing is left")
}

func TestARefusedMachineKeepsItsNode(t *testing.T) {
	client := fake.NewClientset(node("n1", "192.0.2.1"))
	machine := joined()
	machine.plan = spec.Status{State: spec.Failed, Phase: "preflight", Error: &spec.Error{
		Class: errclass.Permanent, Phase: "preflight", Message: "2 problems",
		Problems: []string{"another cluster", "another kubelet"},
	}}
	_, _, err := run(t, newResetter(t, machine, client), reset.Options{})
	assert.ErrorContains(t, err, "another cluster")
	assert.ErrorContains(t, err, "another kubelet")
	assert.Equal(t, errclass.ClassOf(err), errclass.Permanent)
	assert.Assert(t, len(machine.started) == 0 && nodes(t, client) == 1)
}

func TestWithoutItsClusterAMachineIsResetAllTheSame(t *testing.T) {
	machine := joined()
	outcome, said, err := run(t, newResetter(t, machine, nil), reset.Options{ClusterGone: true, RemoveVolumes: true})
	assert.NilError(t, err)
	assert.Assert(t, outcome.Changed)
	assert.Equal(t, machine.started[0].Reset.ClusterUID+machine.started[0].Reset.CACert, "")
	assert.Assert(t, machine.started[0].Reset.RemoveVolumes)
	assert.Assert(t, !strings.Contains(strings.Join(said, "\n"), "node]"), said)

	machine = joined()
	_, _, err = run(t, newResetter(t, machine, nil), reset.Options{})
	assert.ErrorContains(t, err, "if the cluster is gone for good, reset with clusterGone "+
		"(argosy reset --cluster-gone)")
	assert.Equal(t, len(machine.started), 0)
}

// A machine that tells nothing any more may have been reset by an attempt that was cut off before it deleted the node:
//
//	the node that has its name   deleted
//	has its address              yes
//	has no address               yes
//	has another address          no
func TestANodeIsDeletedOnlyIfItIsTheMachines(t *testing.T) {
	for name, test := range map[string]struct {
		address string
		left    int
	}{
		"its address": {"192.0.2.1", 0}, "no address": {"", 0}, "another address": {"192.0.2.7", 1},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(node("n1", test.address))
			outcome, _, err := run(t, newResetter(t, clean(), client), reset.Options{})
			assert.NilError(t, err)
			assert.Equal(t, nodes(t, client), test.left)
			assert.Equal(t, outcome.Changed, test.left == 0)
		})
	}
}

func TestANodesOtherNameIsRememberedAfterAFailedDeletion(t *testing.T) {
	client := fake.NewClientset(node("older-name", "192.0.2.9"))
	refusals := 1
	client.PrependReactor("get", "nodes", func(ktesting.Action) (bool, runtime.Object, error) {
		refusals--
		return refusals >= 0, nil, errors.New("connection reset")
	})
	machine := joined()
	machine.facts.Record.NodeName, machine.facts.Addresses = "older-name", []string{"192.0.2.9"}
	outcome, _, err := run(t, newResetter(t, machine, client), reset.Options{})
	assert.NilError(t, err)
	assert.Equal(t, outcome.Node, "older-name")
	assert.Assert(t, outcome.Changed && nodes(t, client) == 0)
	assert.Equal(t, len(machine.started), 1)
	assert.Equal(t, outcome.Proof, "nothing is left")
}

func TestARunningResetIsAttachedToDespiteAnEmptyPlan(t *testing.T) {
	client := fake.NewClientset()
	machine := joined()
	resetter := newResetter(t, machine, client)
	_, _, err := run(t, resetter, reset.Options{})
	assert.NilError(t, err)
	machine.facts.Working, machine.plan = machine.started[0].ID, planOf(spec.Held)
	limiter := operation.NewLimiter(1)
	leave, err := limiter.Enter(t.Context(), func(int) {})
	assert.NilError(t, err)
	defer leave()
	_, err = resetter.Reset(t.Context(), resetter.Cluster.Fleet.Machines[0], reset.Options{}, limiter,
		operation.NoProgress{})
	assert.NilError(t, err)
	assert.Equal(t, machine.started[1].ID, machine.started[0].ID)
}

func TestAFailedResetNamesTheTracesAndKeepsTheNode(t *testing.T) {
	client := fake.NewClientset(node("n1", "192.0.2.1"))
	machine := joined()
	machine.result = spec.Status{State: spec.Failed, Phase: "prove", Error: &spec.Error{
		Class: errclass.Permanent, Phase: "prove", Message: "the machine is not clean", Problems: []string{"link cni0"},
		Hint: "a reboot ends what holds on",
	}}
	_, _, err := run(t, newResetter(t, machine, client), reset.Options{})
	for _, part := range []string{"m1", "phase prove", "link cni0", "a reboot"} {
		assert.ErrorContains(t, err, part)
	}
	assert.Equal(t, nodes(t, client), 1)
}

func TestAnUnreachableMachineIsTriedAgain(t *testing.T) {
	machine := joined()
	machine.inspectErrors = []error{errclass.With(errclass.Transient, errors.New("no route to host"))}
	_, said, err := run(t, newResetter(t, machine, fake.NewClientset()), reset.Options{})
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(strings.Join(said, "\n"), "no route to host; trying again (1)"), said)
}

func TestThePlanListsTheTracesToRemove(t *testing.T) {
	refused := &fakeMachine{plan: spec.Status{Error: &spec.Error{
		Message:  "x",
		Problems: []string{"another cluster's"},
	}}}
	for name, test := range map[string]struct {
		machine *fakeMachine
		action  reset.Action
		says    string
	}{
		"node":    {joined(), reset.ActionReset, "pods: process web (pid 901)"},
		"clean":   {clean(), reset.ActionNothing, "nothing is left"},
		"refused": {refused, reset.ActionRefuse, "another cluster's"},
		"unreachable": {
			&fakeMachine{inspectErrors: []error{errors.New("no route to host")}}, reset.ActionRefuse,
			"no route to host",
		},
	} {
		t.Run(name, func(t *testing.T) {
			resetter := newResetter(t, test.machine, fake.NewClientset())
			entries, err := resetter.Plan(t.Context(), resetter.Cluster.Fleet.Machines, reset.Options{})
			assert.NilError(t, err)
			assert.Equal(t, entries[0].Action, test.action)
			assert.Assert(t, strings.Contains(reset.Table(entries), test.says), reset.Table(entries))
			assert.Equal(t, len(test.machine.started), 0)
		})
	}
}
