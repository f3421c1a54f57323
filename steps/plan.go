package steps

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/plugin"
)

// planStep says for each machine what a join will do, or why it can't.
type planStep struct{ env *Env }

func (planStep) Name() string      { return "plan" }
func (planStep) Outputs() []string { return []string{"machines", "table", "plan"} }

func (s planStep) Prepare(call plugin.Call) (plugin.Flight, error) {
	var in struct {
		Cluster     string `json:"cluster"`
		Machines    string `json:"machines"`
		Concurrency string `json:"concurrency"`
		DryRun      string `json:"dryRun"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Flight{}, err
	}
	// Argo's command line does not hold users to the template's enum, and with any other word its conditions would skip
	// every step and call that a success.
	if in.DryRun != "" && in.DryRun != "true" && in.DryRun != "false" {
		return plugin.Flight{}, fmt.Errorf("the parameter \"dryRun\" is %q: give true or false", in.DryRun)
	}
	return plugin.Flight{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		conductor, err := s.env.conductor(ctx, call, in.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := conductor.Cluster.Select(in.Machines)
		if err != nil {
			return plugin.Result{}, err
		}
		if _, err := concurrency(in.Concurrency, conductor.Cluster); err != nil {
			return plugin.Result{}, err
		}
		entries, err := conductor.Plan(ctx, machines, report)
		if err != nil {
			return plugin.Result{}, err
		}
		return planResult(entries, in.DryRun == "true"), nil
	}}, nil
}

// urgency orders a plan by what people have to know first.
var urgency = map[join.Action]int{join.ActionRefuse: 0, join.ActionJoin: 1, join.ActionMark: 2, join.ActionNothing: 3}

// planResult fans out over the machines that have work and over those that were refused: each of these then fails in a
// step of its own, by name, while the others finish. A dry run, which has no such steps, fails here.
func planResult(entries []join.Entry, dryRun bool) plugin.Result {
	work, refused := join.Work(entries), join.Refused(entries)
	type item struct {
		Machine string `json:"machine"`
	}
	items := []item{}
	for _, entry := range append(work, refused...) {
		items = append(items, item{entry.Machine})
	}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b join.Entry) int { return cmp.Compare(urgency[a.Action], urgency[b.Action]) })
	result := plugin.Result{
		Phase:   plugin.Succeeded,
		Message: planMessage(entries, work, refused),
		Outputs: map[string]string{"machines": encode(items), "table": boundTable(join.Table(sorted)), "plan": encodeReport(sorted)},
	}
	if dryRun && len(refused) > 0 {
		result.Phase = plugin.Failed
	}
	return result
}

func planMessage(entries, work, refused []join.Entry) string {
	text := fmt.Sprintf("%d of %d machines to join, %d as wanted already", len(work), len(entries), len(entries)-len(work)-len(refused))
	if len(refused) == 0 {
		return text
	}
	lines := []string{fmt.Sprintf("%s, %d can't be joined:", text, len(refused))}
	for _, entry := range refused {
		lines = append(lines, fmt.Sprintf("%s: %s", entry.Machine, strings.Join(entry.Reasons, "; ")))
	}
	return strings.Join(lines, "\n")
}
