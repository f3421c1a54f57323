package operation

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
)

// Timeline holds when the phases of work on one machine ran, by the clock of the process that followed it.
type Timeline struct {
	Started time.Time `json:"started"`
	// Seconds from Started to the end.
	Seconds float64 `json:"seconds"`
	// Phases in the order in which they ran, those of repeated attempts as well. Activities outside of phases are among
	// them.
	Phases []TimedPhase `json:"phases,omitempty"`
}

// TimedPhase is one phase of a Timeline.
type TimedPhase struct {
	Name string `json:"name"`
	// Start in seconds after Timeline.Started, and Seconds that it took, both to the millisecond.
	Start   float64 `json:"start"`
	Seconds float64 `json:"seconds"`
}

// Begin returns when the phase began.
func (t Timeline) Begin(phase TimedPhase) time.Time { return t.Started.Add(duration(phase.Start)) }

// Ended returns when the work ended.
func (t Timeline) Ended() time.Time { return t.Started.Add(duration(t.Seconds)) }

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// Recorder makes a Timeline of the events that it passes on. The durations of a machine's own phases are those that the
// machine measured; every other phase ends where the next one begins.
type Recorder struct {
	next Progress

	mu       sync.Mutex
	timeline Timeline
	// open is the phase that runs, since begun; empty for none.
	open  string
	begun time.Time
	// operation is the machine's last one, of which finished phases are in the timeline.
	operation string
	finished  int
}

// maxTimedPhases bounds a timeline: it is kept in a Workflow. The last one takes the time of those beyond.
const maxTimedPhases = 48

// NewRecorder returns a Recorder whose timeline begins now.
func NewRecorder(next Progress) *Recorder {
	return &Recorder{next: next, timeline: Timeline{Started: time.Now()}}
}

// Report notes the event and passes it on.
func (r *Recorder) Report(event Event) {
	r.note(event, time.Now())
	r.next.Report(event)
}

func (r *Recorder) note(event Event, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := now
	if event.Status != nil {
		at = r.addFinished(event.Status, now)
		if event.Status.State.Final() {
			r.end(at)
			return
		}
	}
	name := cmp.Or(event.Phase, event.Activity)
	if name == "" || name == r.open {
		return
	}
	r.end(at)
	r.open, r.begun = name, at
}

// addFinished adds the phases that the machine has finished since its last status, and returns when the last one
// ended. It adds phases also that began and ended between two statuses.
func (r *Recorder) addFinished(status *spec.Status, now time.Time) time.Time {
	if status.ID != r.operation || len(status.Phases) < r.finished {
		r.operation, r.finished = status.ID, 0
	}
	added := status.Phases[r.finished:]
	r.finished = len(status.Phases)
	if len(added) == 0 {
		return now
	}
	at := r.begun
	if r.open != added[0].Name {
		var all time.Duration
		for _, phase := range added {
			all += duration(phase.Seconds)
		}
		at = later(now.Add(-all), cmp.Or(r.begun, r.timeline.Started))
		r.end(at)
	}
	for _, phase := range added {
		ended := at.Add(duration(phase.Seconds))
		if ended.After(now) {
			ended = now
		}
		r.add(phase.Name, at, ended)
		at = ended
	}
	r.open, r.begun = "", at
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// end ends the phase that runs.
func (r *Recorder) end(at time.Time) {
	if r.open != "" {
		r.add(r.open, r.begun, at)
	}
	r.open, r.begun = "", at
}

func (r *Recorder) add(name string, begin, end time.Time) {
	phase := TimedPhase{Name: name, Start: r.since(begin), Seconds: milliseconds(end.Sub(begin))}
	if phase.Seconds <= 0 {
		return
	}
	if last := len(r.timeline.Phases) - 1; last+1 == maxTimedPhases {
		r.timeline.Phases[last].Seconds = milliseconds(end.Sub(r.timeline.Begin(r.timeline.Phases[last])))
		return
	}
	r.timeline.Phases = append(r.timeline.Phases, phase)
}

func (r *Recorder) since(at time.Time) float64 { return milliseconds(at.Sub(r.timeline.Started)) }

func milliseconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

// Timeline returns the timeline as if the work ended now.
func (r *Recorder) Timeline() Timeline {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.end(now)
	timeline := r.timeline
	// It is cut and not rounded: a span of the run that ends now must not end before this one.
	timeline.Seconds = float64(now.Sub(timeline.Started).Milliseconds()) / 1000
	timeline.Phases = slices.Clone(timeline.Phases)
	return timeline
}
