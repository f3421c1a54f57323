package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// group is a number of machines that share waves with no others.
type group struct {
	name     string
	canaries bool
	machines []Machine
}

func makeWaves(machines []Machine, limits limits) ([]Wave, error) {
	groups := makeGroups(machines)
	mixed := len(groups) > 0 && groups[0].canaries && !groups[len(groups)-1].canaries
	if limits.waves < 2 && mixed {
		return nil, refuse("MaxWaves", limits.waves, errors.New("it must be 2 or more, since canaries are in "+
			"a wave of their own"))
	}
	canaries, others := cut(groups, limits)
	excess := len(canaries) + len(others) - limits.waves
	if excess <= 0 {
		return append(canaries, others...), nil
	}
	share := limits.waves
	if mixed {
		share = max(1, limits.waves*len(canaries)/(len(canaries)+len(others)))
	}
	canaries = merge(canaries, share)
	return append(canaries, merge(others, limits.waves-len(canaries))...), nil
}

// inGroups orders machines, which come by name, and groups them: the canaries by their zones, then the others by
// theirs.
func makeGroups(machines []Machine) []group {
	slices.SortStableFunc(machines, func(a, b Machine) int {
		return cmp.Or(
			first(a.Canary, b.Canary),
			first(a.Zone != "", b.Zone != ""),
			natural(a.Zone, b.Zone),
			first(a.FailedBefore, b.FailedBefore),
			first(a.Unavailable, b.Unavailable),
		)
	})
	zones := slices.ContainsFunc(machines, func(m Machine) bool { return m.Zone != "" })
	var groups []group
	for start := 0; start < len(machines); {
		end := start
		for end < len(machines) && machines[end].Canary == machines[start].Canary &&
			machines[end].Zone == machines[start].Zone {
			end++
		}
		one := machines[start:end]
		groups = append(groups, group{nameOf(one[0], zones), one[0].Canary, one})
		start = end
	}
	return groups
}

// first orders true before false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// canary names the canaries' waves.
const canary = "canary"

// nameOf returns the name of a machine's group; zones is true where any machine has one. A name with a space cannot be
// a zone, since no label has such a value.
func nameOf(m Machine, zones bool) string {
	switch {
	case m.Canary:
		return canary
	case m.Zone == canary:
		return "zone " + canary
	case m.Zone == "" && zones:
		return "no zone"
	}
	return m.Zone
}

// cut divides groups into waves of the smallest size, from the policy's up, that gives no more waves than the policy
// allows; into one wave each when no size does.
func cut(groups []group, limits limits) (canaries, others []Wave) {
	size, largest := limits.wave, limits.wave
	for _, g := range groups {
		largest = max(largest, len(g.machines))
	}
	size += sort.Search(largest-size, func(more int) bool {
		return count(groups, limits.wave+more, limits.unavailable) <= limits.waves
	})
	return chunks(groups, size, limits.unavailable)
}

// count returns the number of waves that a size gives.
func count(groups []group, size, canaries int) int {
	sum := 0
	for _, g := range groups {
		wave := g.size(size, canaries)
		sum += (len(g.machines) + wave - 1) / wave
	}
	return sum
}

// size returns how many of the group's machines make up a wave; canaries bounds a wave of canaries.
func (g group) size(wave, canaries int) int {
	if g.canaries {
		return min(wave, canaries)
	}
	return wave
}

func chunks(groups []group, size, most int) (canaries, others []Wave) {
	numbers := map[string]int{}
	for _, g := range groups {
		for machines := range slices.Chunk(g.machines, g.size(size, most)) {
			numbers[g.name]++
			wave := Wave{Name: waveName(g.name, numbers[g.name]), Canary: g.canaries}
			for _, m := range machines {
				wave.Machines = append(wave.Machines, m.Name)
			}
			if g.canaries {
				canaries = append(canaries, wave)
			} else {
				others = append(others, wave)
			}
		}
	}
	return canaries, others
}

func waveName(group string, number int) string {
	switch {
	case group == "":
		return fmt.Sprint(number)
	case number == 1:
		return group
	}
	return fmt.Sprintf("%s %d", group, number)
}

// merge merges neighbouring waves to most of them. Their numbers of merged waves differ by one at most.
func merge(waves []Wave, most int) []Wave {
	if len(waves) <= most {
		return waves
	}
	merged := make([]Wave, 0, most)
	for i := range most {
		part := waves[i*len(waves)/most : (i+1)*len(waves)/most]
		one := Wave{Name: part[0].Name, Canary: part[0].Canary}
		if len(part) > 1 {
			one.Name += " to " + part[len(part)-1].Name
		}
		for _, wave := range part {
			one.Machines = append(one.Machines, wave.Machines...)
		}
		merged = append(merged, one)
	}
	return merged
}
