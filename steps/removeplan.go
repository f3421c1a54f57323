package steps

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/plugin"
	"argosy.dev/argosy/pkg/remove"
)

// removePlanStep says for each machine what a removal will do, what is in its way and what is lost, or why it can't
// leave.
type removePlanStep struct{ env *Env }

func (removePlanStep) Name() string      { return "remove-plan" }
func (removePlanStep) Outputs() []string { return []string{"machines", "table", "plan"} }

func (s removePlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		planInput
		removeChoices
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	asked, err := in.read()
	if err != nil {
		return plugin.Execution{}, err
	}
	dryRun, err := yes("dryRun", in.DryRun)
	if err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		conductor, err := s.env.remover(ctx, call, in.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := in.selected(conductor.Cluster, (*config.Cluster).SelectNamed)
		if err != nil {
			return plugin.Result{}, err
		}
		entries, err := conductor.Plan(ctx, machines, asked.over(conductor.Cluster.Fleet.Drain), report)
		if err != nil {
			return plugin.Result{}, err
		}
		return removePlanResult(entries, dryRun), nil
	}}, nil
}

// removeUrgency orders a plan by what people have to know first.
var removeUrgency = map[remove.Action]int{remove.ActionRefuse: 0, remove.ActionRemove: 1, remove.ActionNothing: 2}

// removePlanResult fans out over the machines that leave and over those that were refused, as that of a join does: each
// of these then fails by name in a step of its own. A dry run, which has no such steps, fails here.
func removePlanResult(entries []remove.Entry, dryRun bool) plugin.Result {
	work, refused := remove.Work(entries), remove.Refused(entries)
	items := []item{}
	for _, entry := range slices.Concat(work, refused) {
		items = append(items, item{entry.Machine})
	}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b remove.Entry) int {
		return cmp.Compare(removeUrgency[a.Action],
			removeUrgency[b.Action])
	})
	result := plugin.Result{
		Phase:   plugin.Succeeded,
		Message: removePlanMessage(entries, work, refused),
		Outputs: map[string]string{"machines": encode(items), "table": boundTable(remove.Table(sorted)),
			"plan": encodeReport(sorted)},
	}
	if dryRun && len(refused) > 0 {
		result.Phase = plugin.Failed
	}
	return result
}

func removePlanMessage(entries, work, refused []remove.Entry) string {
	lines := []string{leaveMessage(len(work), len(entries), len(refused), "remove")}
	for _, entry := range refused {
		lines = append(lines, fmt.Sprintf("%s: %s", entry.Machine, strings.Join(entry.Reasons, "; ")))
	}
	for _, entry := range work {
		if len(entry.Warnings) > 0 {
			lines = append(lines, fmt.Sprintf("%s: %s", entry.Machine, strings.Join(entry.Warnings, "; ")))
		}
	}
	if len(work) > 0 {
		lines = append(lines, "afterwards "+remove.Afterwards)
	}
	return strings.Join(lines, "\n")
}
