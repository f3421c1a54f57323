package upgrade_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// unwritable has the API server refuse to note a state at nodes, as often as that, after an outage for example.
func (s *site) unwritable(noted rollout.State, times int) {
	s.PrependReactor("patch", "nodes", func(action ktesting.Action) (bool, runtime.Object, error) {
		patch := string(action.(ktesting.PatchAction).GetPatch())
		if times == 0 || !strings.Contains(patch, `\"state\":\"`+string(noted)) {
			return false, nil, nil
		}
		times--
		return true, nil, apierrors.NewServiceUnavailable("it is overloaded")
	})
}

func TestMachinesDoNotWaitForOneWhoseFailureCannotBeNoted(t *testing.T) {
	s := newSite(t, "", "m1", "m2")
	s.machines["m1"].fails = "kubelet"
	s.unwritable(rollout.Failed, -1)
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1", "m2"))
	assert.ErrorContains(t, err, "rolled back")
	assert.ErrorContains(t, err, "it is overloaded")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	outcome, err := s.upgrade(ctx, t, "m2", inWaves("m1", "m2"))
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(outcome.Left, "m1"), "m2 is left: %s", outcome.Left)
}

// Requests of hundreds of machines wait for each other after an outage, longer than noteTimeout.
func TestAFailureIsNotedAsLongAsTheBudgetLasts(t *testing.T) {
	s := newSite(t, "", "m1")
	s.Cluster.Fleet.Limits.RetryBudget.Duration = time.Minute
	s.machines["m1"].fails = "kubelet"
	s.unwritable(rollout.Failed, 4)
	_, err := s.upgrade(t.Context(), t, "m1", inWaves("m1"))
	assert.ErrorContains(t, err, "rolled back")
	assert.Equal(t, s.stands(t, "m1"), before+" failed")
}
