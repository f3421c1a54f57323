package e2e_test

import (
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// joinNode and the like are where settings stand in vcluster.yaml.
const (
	joinNode     = "privateNodes.joinNode."
	registration = joinNode + "nodeRegistration."
	autoUpgrade  = "privateNodes.autoUpgrade."
)

// vcluster changes keys of vcluster.yaml.
func vcluster(settings map[string]any) func(map[string]any) {
	return func(document map[string]any) {
		for key, value := range settings {
			site.Set(document, key, value)
		}
	}
}

// joins submits a join of machines that is expected to work.
func joins(t *testing.T, machines string) *wfv1.Workflow {
	t.Helper()
	w := finished(t, submit(t, "machines="+machines))
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	return w
}
