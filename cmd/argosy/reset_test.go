package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"k8s.io/client-go/kubernetes/fake"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// resettable is a machine with something to take away, or one that is refused.
type resettable struct {
	operation.Machine
	refused bool
	started *int
}

func (m resettable) Inspect(context.Context, spec.Question) (spec.Facts, error) {
	plan := &spec.Status{Phases: []spec.Phase{{
		Name: "binaries", Outcome: spec.Wanted,
		Detail: "binaries from /usr/local/bin/.argosy",
	}}}
	if m.refused {
		plan.Error = &spec.Error{Message: "it is another cluster's node"}
	}
	return spec.Facts{Plan: plan}, nil
}

func (m resettable) Start(context.Context, spec.Operation) (spec.Status, error) {
	*m.started++
	return spec.Status{
		State: spec.Succeeded, Changed: true,
		Phases: []spec.Phase{{Name: "prove", Outcome: spec.Held, Detail: "nothing is left"}},
	}, nil
}

// resetterOfBoth resets machines m1 and m2, which have no nodes, and counts the operations that it starts.
func resetterOfBoth(t *testing.T, refused string, started *int) *reset.Resetter {
	t.Helper()
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(`
apiVersion: argosy.dev/v1alpha1
kind: Fleet
cluster: {kubeconfigSecret: kubeconfig}
machines: [{name: m1, address: 192.0.2.1}, {name: m2, address: 192.0.2.2}]
`))
	assert.NilError(t, err)
	return &reset.Resetter{
		Cluster: cluster,
		Connect: func(context.Context) (*join.Target, error) { return &join.Target{Client: fake.NewClientset()}, nil },
		Machine: func(m config.Machine) operation.Machine {
			return resettable{refused: m.Name == refused, started: started}
		},
	}
}

// resetBoth runs the request on machines m1 and m2, and returns how many operations started.
func resetBoth(t *testing.T, refused string, request resetRequest) (out string, started int, err error) {
	t.Helper()
	var text bytes.Buffer
	request.machines, request.concurrency = "all", 1
	err = request.run(t.Context(), resetterOfBoth(t, refused, &started), &text)
	return text.String(), started, err
}

func TestResetWithoutYesOnlyShowsThePlan(t *testing.T) {
	out, started, err := resetBoth(t, "", resetRequest{})
	assert.Assert(t, program.IsUsage(err), "%v", err)
	assert.ErrorContains(t, err, "add --yes")
	assert.Equal(t, strings.Count(out, "binaries from /usr/local/bin/.argosy"), 2, out)
	assert.Equal(t, started, 0)
}

func TestAResetWithYesDoesIt(t *testing.T) {
	out, started, err := resetBoth(t, "", resetRequest{confirmed: true})
	assert.NilError(t, err)
	assert.Equal(t, started, 2)
	assert.Assert(t, strings.Contains(out, "machine m2 is clean after"), out)
}

func TestResetChangesNothingWhenOneMachineIsRefused(t *testing.T) {
	out, started, err := resetBoth(t, "m2", resetRequest{confirmed: true})
	assert.ErrorContains(t, err, "machine \"m2\" can't be reset as it is")
	assert.Assert(t, strings.Contains(out, "another cluster's node"), out)
	assert.Equal(t, started, 0)
}

func TestCommandsThatTakeNodesAwayNameTheirMachines(t *testing.T) {
	for _, command := range []string{"reset", "remove", "rollback"} {
		_, code, err := run(t, command, "--namespace", "team-a", "--yes")
		assert.ErrorContains(t, err, "flag --machines is required")
		assert.Equal(t, code, program.ExitConfiguration)
	}
}
