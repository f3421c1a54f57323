package reset_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// countingDrain is a Drain that counts how often it is called.
func countingDrain(times *int, err error) *reset.Drain {
	return &reset.Drain{
		Phases: []string{"cordon", "drain"},
		Run: func(_ context.Context, from reset.DrainTarget, in func(string) operation.Progress) ([]string, error) {
			*times++
			operation.Reportf(in("drain"), "emptying %s", from.Node.Name)
			return []string{"emptied"}, err
		},
	}
}

func TestANodeIsDrainedBeforeItsMachineIsTouched(t *testing.T) {
	machine, times := joined(), 0
	machine.onStart = func() { assert.Equal(t, times, 1) }
	outcome, said, err := run(t, newResetter(t, machine, fake.NewClientset(node("n1", "192.0.2.1"))),
		reset.Options{Drain: countingDrain(&times, nil)})
	assert.NilError(t, err)
	assert.DeepEqual(t, outcome.Done, []string{"emptied", "pods, prove", "node n1 deleted"})
	text := strings.Join(said, "\n")
	assert.Assert(t, strings.Contains(text, "[2/13 drain] emptying n1") && strings.Contains(text, "[13/13 node]"), text)
}

func TestAMachineWhoseNodeCannotBeDrainedIsNotTouched(t *testing.T) {
	machine, times := joined(), 0
	outcome, _, err := run(t, newResetter(t, machine, fake.NewClientset(node("n1", "192.0.2.1"))),
		reset.Options{Drain: countingDrain(&times, errors.New("a budget forbids it"))})
	assert.ErrorContains(t, err, `removing machine "m1" (192.0.2.1): a budget forbids it`)
	assert.Assert(t, !outcome.Begun && len(machine.started) == 0)
}

// There is nothing to drain where the machine is at its reset already, is clean, has no node, or its name is taken.
func TestANodeIsOnlyDrainedWhereItServes(t *testing.T) {
	at := joined()
	_, _, err := run(t, newResetter(t, at, fake.NewClientset()), reset.Options{})
	assert.NilError(t, err)
	at.facts.Working, at.plan = at.started[0].ID, planOf(spec.Wanted)
	taken := joined()
	taken.facts.Record = nil
	for name, test := range map[string]struct {
		machine *fakeMachine
		client  *fake.Clientset
	}{
		"at it":   {at, fake.NewClientset(node("n1", "192.0.2.1"))},
		"clean":   {clean(), fake.NewClientset(node("n1", "192.0.2.1"))},
		"no node": {joined(), fake.NewClientset()},
		"taken":   {taken, fake.NewClientset(node("n1", "192.0.2.7"))},
	} {
		t.Run(name, func(t *testing.T) {
			times := 0
			_, _, err := run(t, newResetter(t, test.machine, test.client),
				reset.Options{Drain: countingDrain(&times, nil)})
			assert.NilError(t, err)
			assert.Equal(t, times, 0)
		})
	}
}

func TestVerifyFindsWhatHasNotLeft(t *testing.T) {
	for name, test := range map[string]struct {
		machine  *fakeMachine
		client   *fake.Clientset
		problems []string
	}{
		"left":               {clean(), fake.NewClientset(), nil},
		"another one's node": {clean(), fake.NewClientset(node("n1", "192.0.2.7")), nil},
		"its node": {
			clean(), fake.NewClientset(node("n1", "192.0.2.1")),
			[]string{"the machine is clean", "node: n1 in the cluster"},
		},
		"machine": {
			joined(), fake.NewClientset(),
			[]string{"preflight: the machine is node n1 of cluster team-a", "pods: process web (pid 901)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			resetter := newResetter(t, test.machine, test.client)
			findings, err := resetter.Verify(t.Context(), resetter.Cluster.Fleet.Machines, reset.Options{})
			assert.NilError(t, err)
			assert.DeepEqual(t, findings[0].Problems, test.problems)
			assert.Equal(t, strings.Contains(reset.FindingsTable(findings), "not left"), test.problems != nil)
		})
	}
}
