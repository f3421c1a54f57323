package remove

import (
	"context"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/reset"
)

// Verify looks anew: a machine has left when it is clean and no node is its own. Of machines that are not contacted
// only the nodes are looked for.
func (r *Remover) Verify(ctx context.Context, machines []config.Machine, options Options) ([]reset.Finding, error) {
	if !options.Unreachable {
		return r.Resetter.Verify(ctx, machines, reset.Options{RemoveVolumes: options.RemoveVolumes})
	}
	entries, err := r.planUnreachable(ctx, machines)
	if err != nil {
		return nil, err
	}
	findings := make([]reset.Finding, 0, len(entries))
	for _, entry := range entries {
		finding := reset.Finding{Machine: entry.Machine, Proof: entry.Reasons[0]}
		if entry.Action != ActionNothing {
			finding.Proof, finding.Problems = "", []string{"node " + entry.Node + " is in the cluster"}
		}
		findings = append(findings, finding)
	}
	return findings, nil
}
