package operation_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

func TestAnOperationIsIdentifiedByItsWantedState(t *testing.T) {
	op := spec.Operation{
		Kind: spec.KindReset, Cluster: "team-a", Machine: "m1",
		Reset: &spec.Reset{ClusterUID: "uid"},
	}
	id, err := operation.Identify(op)
	assert.NilError(t, err)
	assert.Assert(t, len(id) == len("reset-")+16, id)
	for name, change := range map[string]struct {
		change func(*spec.Operation)
		same   bool
	}{
		"timeout": {func(o *spec.Operation) { o.Timeout = 1 }, true},
		"secrets": {func(o *spec.Operation) { o.Secrets.BootstrapToken = "x" }, true},
		"its id":  {func(o *spec.Operation) { o.ID = "x" }, true},
		"machine": {func(o *spec.Operation) { o.Machine = "m2" }, false},
		"cluster": {func(o *spec.Operation) { o.Cluster = "team-b" }, false},
		"content": {func(o *spec.Operation) { o.Reset = &spec.Reset{ClusterUID: "uid", RemoveVolumes: true} }, false},
	} {
		changed := op
		change.change(&changed)
		other, err := operation.Identify(changed)
		assert.NilError(t, err)
		assert.Equal(t, other == id, change.same, name)
	}
}
