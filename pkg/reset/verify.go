package reset

import (
	"context"
	"strings"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// Finding is the result of the last inspection of one machine.
type Finding struct {
	Machine string `json:"machine"`
	// Proof lists in words the traces that were searched for and not found, and those that stay.
	Proof string `json:"proof,omitempty"`
	// Problems are sentences; none means that the machine has left.
	Problems []string `json:"problems,omitempty"`
}

// Verify inspects every machine and the cluster anew: a machine has left when it is clean and no node is its own.
func (r *Resetter) Verify(ctx context.Context, machines []config.Machine, options Options) ([]Finding, error) {
	entries, err := r.Plan(ctx, machines, options)
	if err != nil {
		return nil, err
	}
	findings := make([]Finding, 0, len(entries))
	for _, entry := range entries {
		finding := Finding{Machine: entry.Machine}
		if entry.Action == ActionNothing {
			finding.Proof = strings.Join(entry.Reasons, "; ")
		} else {
			finding.Problems = entry.Reasons
		}
		findings = append(findings, finding)
	}
	return findings, nil
}

// Unsound returns the findings that have problems.
func Unsound(findings []Finding) []Finding {
	var unsound []Finding
	for _, finding := range findings {
		if len(finding.Problems) > 0 {
			unsound = append(unsound, finding)
		}
	}
	return unsound
}

// FindingsTable prints findings for people.
func FindingsTable(findings []Finding) string {
	table := operation.NewTable("MACHINE", "STATE", "WHAT")
	for _, finding := range findings {
		state, what := "left", finding.Proof
		if len(finding.Problems) > 0 {
			state, what = "not left", strings.Join(finding.Problems, "; ")
		}
		table.Add([]string{what}, finding.Machine, state)
	}
	return table.String()
}
