package operation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// status is that of operation "join-1", which has finished phases that each took half a second, and runs the next one.
func status(state spec.State, phase string, finished ...string) spec.Status {
	s := spec.Status{ID: "join-1", State: state, Phase: phase, Total: 3}
	for _, name := range finished {
		s.Phases = append(s.Phases, spec.Phase{Name: name, Outcome: spec.Applied, Seconds: 0.5})
	}
	return s
}

func TestATimelineHasThePhasesOfMachineAndCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		passed := 0
		recorder := operation.NewRecorder(operation.ProgressFunc(func(operation.Event) { passed++ }))
		phases := operation.Phases{"drain", operation.MachinePhases, "ready"}
		after := func(seconds float64, event operation.Event) {
			time.Sleep(time.Duration(seconds * float64(time.Second)))
			recorder.Report(event)
		}
		after(0, operation.Event{Activity: operation.ActivityInspect, Detail: "inspecting"})
		after(2, operation.Event{Activity: operation.ActivityWait, Detail: "waiting for its turn"})
		after(3, operation.Event{Detail: "text alone changes nothing"})
		after(0, operation.Event{Phase: "drain"})
		after(4, phases.OfMachine(status(spec.Running, "preflight")))
		after(1, phases.OfMachine(status(spec.Running, "kubeadm", "preflight", "bundle"))) // bundle was not seen
		after(1.5, phases.OfMachine(status(spec.Succeeded, "kubeadm", "preflight", "bundle", "kubeadm")))
		operation.Reportf(phases.In("ready", 3, recorder), "waiting")
		time.Sleep(2500 * time.Millisecond)

		timeline := recorder.Timeline()
		assert.Equal(t, passed, 8)
		assert.DeepEqual(t, timeline.Phases, []operation.TimedPhase{
			{Name: "inspect", Start: 0, Seconds: 2},
			{Name: "wait", Start: 2, Seconds: 3},
			{Name: "drain", Start: 5, Seconds: 4},
			{Name: "preflight", Start: 9, Seconds: 0.5},
			{Name: "bundle", Start: 9.5, Seconds: 0.5},
			{Name: "kubeadm", Start: 10, Seconds: 0.5},
			{Name: "ready", Start: 11.5, Seconds: 2.5},
		})
		assert.Equal(t, timeline.Seconds, 14.0)
		assert.Equal(t, timeline.Begin(timeline.Phases[1]), timeline.Started.Add(2*time.Second))
	})
}

func TestATimelineAddsPhasesBetweenTwoStatuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := operation.NewRecorder(operation.NoProgress{})
		recorder.Report(operation.Event{Activity: operation.ActivityInspect})
		time.Sleep(5 * time.Second)
		recorder.Report(operation.Phases{operation.MachinePhases}.OfMachine(status(spec.Running, "kubelet", "a", "b")))
		time.Sleep(time.Second)
		assert.DeepEqual(t, recorder.Timeline().Phases, []operation.TimedPhase{
			{Name: "inspect", Start: 0, Seconds: 4},
			{Name: "a", Start: 4, Seconds: 0.5},
			{Name: "b", Start: 4.5, Seconds: 0.5},
			{Name: "kubelet", Start: 5, Seconds: 1},
		})
	})
}

func TestATimelineOfManyRetriesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := operation.NewRecorder(operation.NoProgress{})
		for range 500 {
			recorder.Report(operation.Event{Activity: operation.ActivityInspect})
			time.Sleep(time.Second)
			recorder.Report(operation.Event{Activity: operation.ActivityRetry})
			time.Sleep(time.Second)
		}
		timeline := recorder.Timeline()
		assert.Equal(t, len(timeline.Phases), 48)
		last := timeline.Phases[47]
		assert.Equal(t, last.Start+last.Seconds, 1000.0)
	})
}

func TestOnlyEventsOutsideOfPhasesAreWaits(t *testing.T) {
	var seen []string
	progress := operation.Waiting(operation.ProgressFunc(func(event operation.Event) {
		seen = append(seen, event.Phase+event.Activity)
	}))
	operation.Reportf(progress, "2 machines are at work")
	progress.Report(operation.Event{Phase: "drain"})
	progress.Report(operation.Event{Activity: operation.ActivityRetry})
	operation.ReportWait(progress, "another rollout has the Lease")
	assert.DeepEqual(t, seen, []string{"wait", "drain", "retry", "wait"})
}
