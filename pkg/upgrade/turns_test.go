package upgrade_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// wave is a plan of one wave, of which one machine may be unavailable.
func wave(machines int) ([]string, rollout.Plan) {
	var names []string
	for i := range machines {
		names = append(names, fmt.Sprintf("m%02d", i+1))
	}
	return names, rollout.Plan{MaxUnavailable: 1, Waves: []rollout.Wave{{Name: "1", Machines: names}}}
}

func TestMachinesAtWorkAndUnavailableOnesDoNotWaitBehindOthers(t *testing.T) {
	names, plan := wave(40)
	s := newSite(t, "", names...)
	s.change(t, "m40", func(n *corev1.Node) {
		n.Annotations[upgrade.Annotation] = `{"rollout":"rollout-1","run":"1","state":"working"}`
	})
	s.change(t, "m39", func(n *corev1.Node) { n.Spec.Unschedulable = true })

	var mu sync.Mutex
	var inside, most int
	var order []string
	entered, release := make(chan struct{}, len(names)), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- s.InTurn(t.Context(), plan, names, func(i int) {
			mu.Lock()
			inside++
			most, order = max(most, inside), append(order, names[i])
			mu.Unlock()
			entered <- struct{}{}
			<-release
			mu.Lock()
			inside--
			mu.Unlock()
		})
	}()
	for range 11 {
		<-entered
	}
	mu.Lock()
	first := slices.Sorted(slices.Values(order[:11]))
	mu.Unlock()
	// One may be unavailable, and eight wait for that.
	assert.DeepEqual(t, first, append(slices.Clone(names[:9]), "m39", "m40"))
	close(release)
	assert.NilError(t, <-done)
	assert.Equal(t, most, 11)
	assert.DeepEqual(t, slices.Sorted(slices.Values(order)), names)
}

func TestAnEndedContextLeavesTheMachinesThatWait(t *testing.T) {
	names, plan := wave(40)
	s := newSite(t, "", names...)
	ctx, stop := context.WithCancelCause(t.Context())
	var mu sync.Mutex
	begun := 0
	err := s.InTurn(ctx, plan, names, func(int) {
		mu.Lock()
		begun++
		mu.Unlock()
		stop(errStopped)
		<-ctx.Done()
	})
	assert.ErrorIs(t, err, errStopped)
	assert.Assert(t, begun >= 1 && begun < len(names), "%d have begun", begun)
}
