package operation

import (
	"fmt"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
)

// Progress takes the events of work that goes on. How they are shown is decided where they end: Argo shows the newest
// one as a step's message, a terminal prints a line for each phase.
type Progress interface {
	// Report takes one event. It may be called by several goroutines at once, and returns quickly.
	Report(event Event)
}

// Event is how far the work has come.
type Event struct {
	// Phase that runs, e.g. "containerd" or "drain"; empty outside of phases.
	Phase string `json:"phase,omitempty"`
	// Index of the phase among Phases, from 1; both are 0 where phases are not counted.
	Index  int `json:"index,omitempty"`
	Phases int `json:"phases,omitempty"`
	// Done of Total units; both are 0 where nothing is counted, and Total alone where it is not known.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
	Unit  Unit  `json:"unit,omitempty"`
	// Rate in units a second.
	Rate int64 `json:"rate,omitempty"`
	// Detail for people: a sentence, or the name of the file that Done and Total are about.
	Detail string `json:"detail,omitempty"`
	// Elapsed since the operation began; 0 where it is not known.
	Elapsed time.Duration `json:"elapsed,omitempty"`
	// Activity names the work outside of phases; empty where it goes on as before.
	Activity string `json:"activity,omitempty"`
	// Status of the machine's operation that the event is made of; nil for none.
	Status *spec.Status `json:"-"`
}

// Activities outside of phases.
const (
	ActivityInspect = "inspect"
	ActivityWait    = "wait"
	ActivityRetry   = "retry"
)

// Unit of the Done and Total of an Event.
type Unit string

// The units.
const (
	Bytes    Unit = "bytes"
	Pods     Unit = "pods"
	Machines Unit = "machines"
)

// String returns the event as one line:
//
//	inspecting machine m1 (192.0.2.1)
//	[5/11 containerd] starting containerd · 12s
//	[2/11 bundle] 214 of 398 MB, 96 MB/s
//	[2/2 images] app.tar (2 of 5): 214 of 398 MB, 96 MB/s
//	[2/2 images] app.tar (2 of 5): 214 MB, 96 MB/s
func (e Event) String() string {
	text := e.Detail
	if e.Unit == Bytes {
		text = e.transferred()
	}
	if e.Elapsed > 0 {
		text += " · " + e.Elapsed.String()
	}
	switch {
	case e.Phase == "":
		return text
	case e.Index == 0:
		return fmt.Sprintf("[%s] %s", e.Phase, text)
	}
	return fmt.Sprintf("[%d/%d %s] %s", e.Index, e.Phases, e.Phase, text)
}

func (e Event) transferred() string {
	var text strings.Builder
	if e.Detail != "" {
		text.WriteString(e.Detail + ": ")
	}
	_, _ = fmt.Fprintf(&text, "%d", e.Done/1e6)
	if e.Total > 0 {
		_, _ = fmt.Fprintf(&text, " of %d", e.Total/1e6)
	}
	_, _ = fmt.Fprintf(&text, " MB, %d MB/s", e.Rate/1e6)
	return text.String()
}

// ProgressFunc is a function as a Progress.
type ProgressFunc func(Event)

// Report calls f.
func (f ProgressFunc) Report(event Event) { f(event) }

// NoProgress is a Progress that shows nothing.
type NoProgress struct{}

// Report does nothing.
func (NoProgress) Report(Event) {}

// AsText returns a Progress that hands each event to show as a line of text.
func AsText(show func(string)) Progress {
	return ProgressFunc(func(event Event) { show(event.String()) })
}

// Reportf reports an event that has only a text.
func Reportf(progress Progress, format string, args ...any) {
	progress.Report(Event{Detail: fmt.Sprintf(format, args...)})
}

// Waiting returns a Progress that reports to progress, and for which events outside of phases are waits.
func Waiting(progress Progress) Progress {
	return ProgressFunc(func(event Event) {
		if event.Phase == "" && event.Activity == "" {
			event.Activity = ActivityWait
		}
		progress.Report(event)
	})
}

// ReportWait reports that the work waits, and the reason.
func ReportWait(progress Progress, format string, args ...any) {
	progress.Report(Event{Activity: ActivityWait, Detail: fmt.Sprintf(format, args...)})
}
