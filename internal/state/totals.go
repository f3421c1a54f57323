package state

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"argosy.dev/argosy/pkg/errclass"
)

// count adds an operation to the totals of its kind.
func (s *Status) count(end End) {
	at, found := slices.BinarySearchFunc(s.Totals, end.Operation, func(total Total, name string) int {
		return cmp.Compare(total.Operation, name)
	})
	// The slices of an earlier Status are not changed: a change may be applied to it again.
	s.Totals = slices.Clone(s.Totals)
	if !found {
		s.Totals = slices.Insert(s.Totals, at, Total{Operation: end.Operation})
	}
	total := &s.Totals[at]
	if end.Failed == "" {
		total.Succeeded++
	} else {
		total.Failed = addClass(total.Failed, end.Failed, 1)
	}
	for _, class := range slices.Sorted(maps.Keys(end.Retries)) {
		total.Retries = addClass(total.Retries, class, int64(end.Retries[class]))
	}
	total.Bytes += end.Bytes
	for _, phase := range end.Phases {
		total.Phases = addPhase(total.Phases, phase)
	}
}

func addClass(totals []ClassTotal, class errclass.Class, number int64) []ClassTotal {
	totals = slices.Clone(totals)
	at, found := slices.BinarySearchFunc(totals, string(class), func(one ClassTotal, name string) int {
		return cmp.Compare(one.Class, name)
	})
	if !found {
		totals = slices.Insert(totals, at, ClassTotal{Class: string(class)})
	}
	totals[at].Count += number
	return totals
}

func addPhase(totals []PhaseTotal, phase PhaseTotal) []PhaseTotal {
	totals = slices.Clone(totals)
	at := slices.IndexFunc(totals, func(one PhaseTotal) bool { return one.Name == phase.Name })
	if at < 0 {
		totals, at = append(totals, PhaseTotal{Name: phase.Name}), len(totals)
	}
	totals[at].Count += phase.Count
	// Milliseconds, so that sums do not grow digits.
	totals[at].Seconds = math.Round((totals[at].Seconds+phase.Seconds)*1000) / 1000
	return totals
}
