package steps

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// maxOwnSteps is how many machines have a step each. Beyond, steps work on groups of machines: Argo keeps each step
	// twice in the Workflow and once in the WorkflowTaskSet, and etcd bounds both.
	maxOwnSteps = 100
	// groupSize is how many machines are in a group, unless that makes more than maxGroups of them.
	groupSize = 50
	maxGroups = 100
)

// group is the machines that one step works on, by name, one at least.
type group []string

// name returns the first machine, and how many follow: "m1+49". A group of one machine has its name. "+" is in the name
// of no machine.
func (g group) name() string {
	if len(g) == 1 {
		return g[0]
	}
	return g[0] + groupMark + strconv.Itoa(len(g)-1)
}

const groupMark = "+"

// isGroup reports whether a step's parameter "machine" names a group of several machines.
func isGroup(name string) bool { return strings.Contains(name, groupMark) }

// groupLength returns how many machines are in the group of that name; 1 for the name of a machine.
func groupLength(name string) int {
	_, more, found := strings.Cut(name, groupMark)
	number, err := strconv.Atoi(more)
	if !found || err != nil || number < 0 {
		return 1
	}
	return number + 1
}

// groupsOf divides machines, in their order, for a fan-out that has total of them: into groups of one up to
// maxOwnSteps.
func groupsOf(machines []string, total int) []group {
	size := 1
	if total > maxOwnSteps {
		size = max(groupSize, (total+maxGroups-1)/maxGroups)
	}
	count := (len(machines) + size - 1) / size
	groups := make([]group, 0, count)
	for i := range count {
		// Their lengths differ by one at most.
		groups = append(groups, group(machines[i*len(machines)/count:(i+1)*len(machines)/count]))
	}
	return groups
}

// groupNamed returns the group of that name.
func groupNamed(groups []group, name string) (group, error) {
	for _, g := range groups {
		if g.name() == name {
			return g, nil
		}
	}
	return nil, fmt.Errorf("the parameter \"machine\" is %q: the plan of this workflow has no such group; submit the "+
		"workflow anew", name)
}
