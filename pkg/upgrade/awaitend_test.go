package upgrade

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/operation"
)

// The process of rollout-2 was killed while m2 was cordoned with its wave.
func TestAnAbortOfAKilledRolloutUncordonsItsNodes(t *testing.T) {
	w := newWaiters(t, 2)
	synctest.Test(t, func(t *testing.T) {
		w.renewAs(t, "rollout-2", time.Now())
		_, err := drain.Drainer{Client: w.client}.Cordon(t.Context(), "m2", waveOwner)
		assert.NilError(t, err)
		name, err := w.Ask(t.Context(), Abort)
		assert.NilError(t, err)
		assert.Equal(t, name, "rollout-2")
		began := time.Now()
		done, err := w.AwaitEnd(t.Context(), name, operation.NoProgress{})
		assert.NilError(t, err)
		assert.Equal(t, strings.Join(done, ", "), "node m2 was not begun and is uncordoned")
		assert.Assert(t, time.Since(began) >= leaseLife, "it may have been alive")
		node, err := w.client.CoreV1().Nodes().Get(t.Context(), "m2", metav1.GetOptions{})
		assert.NilError(t, err)
		assert.Assert(t, !node.Spec.Unschedulable)
	})
}
