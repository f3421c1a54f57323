package operation

import (
	"context"
	"slices"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// Measurements are those of the work on one machine. They may be used by several goroutines. A Recorder does not have
// them: it sees events alone, while attempts are repeated without one, and the last status of a cancelled operation
// makes none; and its timeline is bounded, where totals count all.
type Measurements struct {
	now func() time.Time

	mu sync.Mutex
	// phases in the order in which they began; those of the machine replace those that were seen to pass.
	phases  []PhaseTime
	machine map[string]bool
	retries map[errclass.Class]int
	bytes   int64
	// running is the phase of the last event, since a time; empty outside of phases.
	running string
	since   time.Time
}

// PhaseTime is how long a phase worked.
type PhaseTime struct {
	Name    string
	Seconds float64
}

type measurementsKey struct{}

// Measuring returns a context in which operations are measured, and their measurements.
func Measuring(ctx context.Context) (context.Context, *Measurements) {
	m := &Measurements{now: time.Now, machine: map[string]bool{}, retries: map[errclass.Class]int{}}
	return context.WithValue(ctx, measurementsKey{}, m), m
}

// Timed returns a Progress that reports to progress, and measures the phases of the events for ctx. Phases that the
// machine itself measures are taken from its status instead.
func Timed(ctx context.Context, progress Progress) Progress {
	m, measures := ctx.Value(measurementsKey{}).(*Measurements)
	if !measures {
		return progress
	}
	return ProgressFunc(func(event Event) {
		m.enter(event.Phase)
		progress.Report(event)
	})
}

// Phases returns the phases that did work, in the order in which they began, and how long they took in all attempts.
func (m *Measurements) Phases() []PhaseTime {
	m.enter("")
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.phases)
}

// Retries returns how many attempts were repeated, by the class of their error.
func (m *Measurements) Retries() map[errclass.Class]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	retries := make(map[errclass.Class]int, len(m.retries))
	for class, number := range m.retries {
		retries[class] = number
	}
	return retries
}

// Bytes returns how many the machine received.
func (m *Measurements) Bytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

// enter ends the phase that runs, and begins another one; empty begins none.
func (m *Measurements) enter(phase string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if phase == m.running {
		return
	}
	now := m.now()
	if m.running != "" && !m.machine[m.running] {
		m.add(m.running, now.Sub(m.since).Seconds())
	}
	m.running, m.since = phase, now
}

func (m *Measurements) add(phase string, seconds float64) {
	at := slices.IndexFunc(m.phases, func(one PhaseTime) bool { return one.Name == phase })
	if at < 0 {
		m.phases, at = append(m.phases, PhaseTime{Name: phase}), len(m.phases)
	}
	m.phases[at].Seconds += seconds
}

// measured takes the phases of an operation that ended on its machine.
func measured(ctx context.Context, status spec.Status) {
	m, measures := ctx.Value(measurementsKey{}).(*Measurements)
	if !measures || !status.State.Final() {
		return
	}
	m.enter("")
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, phase := range status.Phases {
		m.bytes += phase.Bytes
		if !m.machine[phase.Name] {
			m.machine[phase.Name] = true
			m.phases = slices.DeleteFunc(m.phases, func(one PhaseTime) bool { return one.Name == phase.Name })
		}
		if phase.Outcome == spec.Applied || phase.Outcome == spec.FailedPhase {
			m.add(phase.Name, phase.Seconds)
		}
	}
}

// retried counts an attempt that is repeated.
func retried(ctx context.Context, err error) {
	if m, measures := ctx.Value(measurementsKey{}).(*Measurements); measures {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.retries[errclass.ClassOf(err)]++
	}
}
