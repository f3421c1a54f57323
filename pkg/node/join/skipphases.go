package join

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
)

// checkSkipped refuses to skip phases that the bundle's kubeadm does not have: kubeadm itself would fail only after the
// rest of the machine is set up.
func checkSkipped(ctx context.Context, c *node.Context) error {
	j := c.Operation.Join
	skipped := j.Registration.SkipPhases
	if len(skipped) == 0 || notJoined(c.Host, j) == "" {
		return nil
	}
	command := host.Command{Argv: []string{c.Host.Path(release(j, "kubeadm")), "join", "--help"}}
	output, err := c.Host.Runner.Run(ctx, command)
	if err != nil {
		return fmt.Errorf("asking kubeadm for its phases: %w", err)
	}
	known := kubeadmPhases(string(output))
	if len(known) == 0 {
		// Help in another format is no reason to refuse a phase that kubeadm may have.
		fmt.Fprintf(c.Log, "the help of kubeadm %s does not list its phases; skipPhases is left to it\n",
			j.KubernetesVersion)
		return nil
	}
	var problems []string
	for _, name := range skipped {
		if !slices.Contains(known, name) {
			problems = append(problems, fmt.Sprintf("kubeadm %s has no phase %q to skip; nearest are %s.",
				j.KubernetesVersion, name, strings.Join(nearest(name, known), ", ")))
		}
	}
	return node.Problems(errclass.Configuration, "skipPhases names unknown phases", problems)
}

// kubeadmPhases parses the phases of "kubeadm join" from its help: between two fences, one a line, sub-phases indented
// and with a slash before their names. A sub-phase is returned as "phase/sub-phase".
func kubeadmPhases(help string) []string {
	_, list, found := strings.Cut(help, "executes the following phases:\n```\n")
	if !found {
		return nil
	}
	list, _, found = strings.Cut(list, "```")
	if !found {
		return nil
	}
	var phases, above []string
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		depth := min((len(line)-len(strings.TrimLeft(line, " ")))/2, len(above))
		above = append(above[:depth:depth], strings.TrimPrefix(fields[0], "/"))
		phases = append(phases, strings.Join(above, "/"))
	}
	return phases
}

// suggested is the number of names that nearest returns.
const suggested = 3

// nearest returns the known names that are most like name.
func nearest(name string, known []string) []string {
	byDistance := slices.Clone(known)
	slices.SortStableFunc(byDistance, func(a, b string) int { return distance(name, a) - distance(name, b) })
	return byDistance[:min(suggested, len(byDistance))]
}

// distance returns the Levenshtein distance of a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
