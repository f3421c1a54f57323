package operation

import (
	"slices"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
)

// MachinePhases stands in [Phases] for the phases that the machine itself carries out.
const MachinePhases = "machine"

// Phases are the names of an operation's phases in the order in which they run: those in the cluster, and MachinePhases
// in place of the machine's own, which a plan of the machine counts.
//
//	Phases{"cordon", "drain", MachinePhases, "ready", "uncordon"}
type Phases []string

// before returns how many phases in the cluster precede the machine's own.
func (p Phases) before() int { return max(slices.Index(p, MachinePhases), 0) }

// total returns how many phases there are where the machine has onMachine.
func (p Phases) total(onMachine int) int { return max(len(p)-1, 0) + onMachine }

// In returns a Progress that reports to progress, as events of a phase in the cluster. The machine has onMachine phases
// of its own.
//
//	[2/17 drain] 3 of 12 pods left, waiting for default/web-0
func (p Phases) In(phase string, onMachine int, progress Progress) Progress {
	index := slices.Index(p, phase) + 1
	if index > p.before() && slices.Contains(p, MachinePhases) {
		index += onMachine - 1
	}
	return ProgressFunc(func(event Event) {
		event.Phase, event.Index, event.Phases = phase, index, p.total(onMachine)
		progress.Report(event)
	})
}

// OfMachine returns the event of a machine's status.
func (p Phases) OfMachine(status spec.Status) Event {
	event := Event{Phase: "starting", Detail: status.Message, Status: &status}
	if status.Phase != "" {
		event.Phase, event.Index = status.Phase, p.before()+status.Index
		event.Phases = p.total(status.Total)
	}
	if moved := status.Progress; moved != nil && (moved.Total > 0 || moved.What != "") {
		event.Detail, event.Unit = moved.What, Bytes
		event.Done, event.Total, event.Rate = moved.Done, moved.Total, moved.Rate
		return event
	}
	event.Elapsed = status.Updated.Sub(status.Started).Round(time.Second)
	return event
}
