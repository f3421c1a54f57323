package join_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// nodeOf is a node of the machine with this id and address, either of which may be empty.
func nodeOf(id, address string, ready corev1.ConditionStatus) *corev1.Node {
	node := readyNode("m1", ready)
	node.Status.NodeInfo.MachineID = id
	if address != "" {
		node.Status.Addresses = []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "m1"}, {Type: corev1.NodeInternalIP, Address: address},
		}
	}
	return node
}

func TestNoMachineTakesAnothersPlace(t *testing.T) {
	const yes, no = corev1.ConditionTrue, corev1.ConditionFalse
	for name, tt := range map[string]struct {
		node   *corev1.Node
		facts  spec.Facts
		reason string
		class  errclass.Class
	}{
		"another machine-id": {
			node: nodeOf("aaaa", "192.0.2.1", no), class: errclass.Configuration,
			reason: "its machine-id is aaaa, not 1111); set nodeName in argosy.yaml, or if that machine is gone",
		},
		"a clone at another address": {
			node: nodeOf("1111", "192.0.2.77", no), class: errclass.Configuration,
			reason: "its address is 192.0.2.77)",
		},
		"another, Ready": {
			node: nodeOf("aaaa", "192.0.2.77", yes), class: errclass.Configuration,
			reason: "a Ready node of that name, and it is not this machine (its machine-id is aaaa, not 1111, its " +
				"address is 192.0.2.77); set nodeName in argosy.yaml",
		},
		"unknown, Ready":      {node: nodeOf("", "", yes), class: errclass.Configuration, reason: "is taken"},
		"unknown, not Ready":  {node: nodeOf("", "", no)},
		"the same, not Ready": {node: nodeOf("1111", "192.0.2.1", no)},
		"the same, still Ready": {
			node: nodeOf("1111", "192.0.2.1", yes), class: errclass.Transient,
			reason: "of which this machine has no credentials",
		},
		"the same, with its credentials": {
			node: nodeOf("1111", "192.0.2.1", yes), facts: credentialsOf("m1"),
		},
		"with credentials of another node": {
			node: nodeOf("aaaa", "192.0.2.1", yes), facts: credentialsOf("m2"), class: errclass.Configuration,
			reason: "its machine-id is aaaa",
		},
		"the same by its second address": {node: nodeOf("1111", "2001:db8::1", no)},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(tt.node)
			facts := tt.facts
			facts.MachineID, facts.Addresses = "1111", []string{"192.0.2.1", "2001:db8::1"}
			machine := &fakeMachine{
				plan: spec.Status{Total: 9, Phases: phases(spec.Wanted)}, result: succeeded(), facts: facts,
				arrives: make(chan struct{}),
			}
			machine.onStart = func(spec.Operation) {
				_, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), markedNode("m1"), metav1.UpdateOptions{})
				assert.Check(t, err)
			}
			joiner := newJoiner(t, machine, client)
			joiner.Cluster.Fleet.Limits.RetryBudget.Duration = 0
			entries, err := joiner.Plan(t.Context(), joiner.Cluster.Fleet.Machines, operation.NoProgress{})
			assert.NilError(t, err)
			_, err = joiner.Join(t.Context(), firstMachine(joiner), operation.NewLimiter(1), operation.NoProgress{})
			if tt.reason == "" {
				assert.NilError(t, err)
				assert.Equal(t, entries[0].Action, join.ActionJoin)
				return
			}
			assert.ErrorContains(t, err, tt.reason)
			assert.Equal(t, errclass.ClassOf(err), tt.class)
			assert.Equal(t, entries[0].Action, join.ActionRefuse)
			assert.Assert(t, strings.Contains(entries[0].Reasons[0], tt.reason), entries[0].Reasons)
			assert.Equal(t, len(machine.started), 0)
			for _, action := range client.Actions() {
				assert.Assert(t, action.GetVerb() != "create", "a token was made")
			}
		})
	}
}
