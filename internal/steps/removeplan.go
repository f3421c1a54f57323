package steps

import (
	"context"
	"strings"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/remove"
)

// removePlanStep reports for each machine the work of a removal, the pods in its way and the data that is lost, or why
// it cannot leave.
type removePlanStep struct{ env *Env }

func (removePlanStep) Name() string      { return "remove-plan" }
func (removePlanStep) Outputs() []string { return []string{"machines", "groups", "table", "plan"} }

func (s removePlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		planInput
		removeParams
	}
	dryRun, err := decodePlan(call, &in)
	if err != nil {
		return plugin.Execution{}, err
	}
	asked, err := in.parse()
	if err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		remover, err := s.env.remover(ctx, call, in.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := in.selected(remover.Cluster, (*config.Cluster).SelectNamed)
		if err != nil {
			return plugin.Result{}, err
		}
		entries, err := remover.Plan(ctx, machines, asked.optionsFor(remover.Cluster.Fleet.Drain),
			operation.AsText(report))
		if err != nil {
			return plugin.Result{}, err
		}
		return s.env.answer(ctx, call, remover.Cluster, removePlanResult(entries, dryRun))
	}}, nil
}

// removePlans answers plans of removals.
var removePlans = planFormat[remove.Entry, remove.Action]{
	order:  []remove.Action{remove.ActionRefuse, remove.ActionRemove, remove.ActionNothing},
	refuse: remove.ActionRefuse,
	fields: func(e remove.Entry) (string, remove.Action, []string) { return e.Machine, e.Action, e.Reasons },
	table:  remove.Table,
}

// removePlanResult fans out over the machines that leave.
func removePlanResult(entries []remove.Entry, dryRun bool) planned {
	return removePlans.result(entries, remove.Work(entries), dryRun, removePlanMessage(entries))
}

func removePlanMessage(entries []remove.Entry) string {
	work, refused := remove.Work(entries), remove.Refused(entries)
	lines := []string{leavePlanMessage(len(work), len(entries), len(refused), "remove")}
	lines = append(lines, removePlans.lines(refused)...)
	for _, entry := range work {
		if len(entry.Warnings) > 0 {
			lines = append(lines, machineLine(entry.Machine, entry.Warnings))
		}
	}
	if len(work) > 0 {
		lines = append(lines, "afterwards "+remove.Afterwards)
	}
	return strings.Join(lines, "\n")
}
