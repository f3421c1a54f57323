package operation

import (
	"strings"

	"argosy.dev/argosy/pkg/node/spec"
)

// Wants reports whether a plan has something to do on the machine.
func Wants(plan *spec.Status) bool { return len(phasesWith(plan, spec.Wanted)) > 0 }

// WantedPhases are the phases that a plan would carry out, by name.
func WantedPhases(plan *spec.Status) []string { return phasesWith(plan, spec.Wanted) }

// Done returns in words the phases that an operation applied.
func Done(status spec.Status) string {
	if applied := phasesWith(&status, spec.Applied); len(applied) > 0 {
		return strings.Join(applied, ", ")
	}
	return "nothing to do on the machine"
}

// Problems returns the problems that keep a plan from being carried out, in sentences.
func Problems(failure *spec.Error) []string {
	if len(failure.Problems) > 0 {
		return failure.Problems
	}
	return []string{failure.Message}
}

func phasesWith(status *spec.Status, outcome spec.Outcome) []string {
	var names []string
	for _, phase := range status.Phases {
		if phase.Outcome == outcome {
			names = append(names, phase.Name)
		}
	}
	return names
}
