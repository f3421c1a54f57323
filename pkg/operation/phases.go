package operation

import (
	"fmt"
	"slices"
)

// MachinePhases stands in [Phases] for the phases that the machine itself carries out.
const MachinePhases = "machine"

// Phases are the names of an operation's phases in the order in which they run: those in the cluster, and MachinePhases
// in place of the machine's own, which a plan of the machine counts.
//
//	Phases{"cordon", "drain", MachinePhases, "ready", "uncordon"}
type Phases []string

// Before returns how many phases in the cluster precede the machine's own.
func (p Phases) Before() int { return slices.Index(p, MachinePhases) }

// After returns how many phases in the cluster follow the machine's own.
func (p Phases) After() int { return len(p) - 1 - p.Before() }

// Message returns the line that the Argo UI shows during a phase in the cluster, as [Message] does for one of the
// machine's own phases, of which there are onMachine.
//
//	[2/17 drain] 3 of 12 pods left, waiting for default/web-0
func (p Phases) Message(phase string, onMachine int, text string) string {
	index := slices.Index(p, phase) + 1
	if index > p.Before() {
		index += onMachine - 1
	}
	return fmt.Sprintf("[%d/%d %s] %s", index, len(p)-1+onMachine, phase, text)
}
