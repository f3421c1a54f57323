package operation_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

func TestAFailureNamesTheNextStepBeforeItsLastLines(t *testing.T) {
	failure := &operation.Failure{Machine: "m1", Status: spec.Status{Error: &spec.Error{
		Phase: "kubeadm", Message: "losetup not found", Problems: []string{"one", "two"}, Hint: "correct it",
		Command: "kubeadm join", Tail: []string{"OS: Linux"},
	}}}
	assert.Equal(t, failure.Error(), `machine m1: phase kubeadm: losetup not found
  next: correct it
  - one
  - two
  command: kubeadm join
  | OS: Linux`)
}
