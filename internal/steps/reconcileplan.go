package steps

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/join"
)

// reconcilePlanStep reports for each machine that is a node how it differs from the documents.
type reconcilePlanStep struct{ env *Env }

func (reconcilePlanStep) Name() string { return "reconcile-plan" }
func (reconcilePlanStep) Outputs() []string {
	return []string{"machines", "groups", "table", "diff", "plan"}
}

func (s reconcilePlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in planInput
	if _, err := decodePlan(call, &in); err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		cluster, entries, err := s.env.plan(ctx, call, in, report)
		if err != nil {
			return plugin.Result{}, err
		}
		return s.env.answer(ctx, call, cluster, reconcilePlanResult(entries))
	}}, nil
}

// reconcilePlanResult fans out over the machines that differ, and over those that were refused, so that each of these
// fails by name. Machines that have not joined are none of a reconciliation's business.
func reconcilePlanResult(entries []join.Entry) planned {
	differing, refused := join.Differing(entries), join.Refused(entries)
	lines := []string{fmt.Sprintf("%d of %d machines differ from the documents", len(differing), len(entries))}
	later := join.AtOtherVersion(entries)
	if len(later) > 0 {
		lines[0] += fmt.Sprintf("; %d at another version, which workflow upgrade is for", len(later))
	}
	if outside := len(entries) - len(differing) - len(refused) - len(later) - len(join.AsWanted(entries)); outside > 0 {
		lines[0] += fmt.Sprintf("; %d not joined yet, which workflow join is for", outside)
	}
	lines = append(append(lines, joinPlans.lines(differing)...), joinPlans.lines(refused)...)
	// A dry run of a reconciliation succeeds with refused machines too: its steps follow, and fail, by name.
	result := joinPlans.result(entries, differing, false, strings.Join(lines, "\n"))
	result.Outputs["diff"] = boundTable(join.Diffs(entries))
	return result
}
