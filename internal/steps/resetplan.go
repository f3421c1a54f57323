package steps

import (
	"context"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/reset"
)

// resetParams are the parameters of all steps of a reset.
type resetParams struct {
	ClusterGone   string `json:"clusterGone"`
	RemoveVolumes string `json:"removeVolumes"`
}

func (in resetParams) parse() (reset.Options, error) {
	var options reset.Options
	err := parseBools(boolParam{"clusterGone", in.ClusterGone, &options.ClusterGone},
		boolParam{"removeVolumes", in.RemoveVolumes, &options.RemoveVolumes})
	return options, err
}

// resetPlanStep reports for each machine the things that a reset will remove, or why it cannot be reset.
type resetPlanStep struct{ env *Env }

func (resetPlanStep) Name() string      { return "reset-plan" }
func (resetPlanStep) Outputs() []string { return []string{"machines", "groups", "table", "plan"} }

func (s resetPlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		planInput
		resetParams
	}
	dryRun, err := decodePlan(call, &in)
	if err != nil {
		return plugin.Execution{}, err
	}
	options, err := in.parse()
	if err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		resetter, err := s.env.resetter(ctx, call, in.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := in.selected(resetter.Cluster, (*config.Cluster).SelectNamed)
		if err != nil {
			return plugin.Result{}, err
		}
		report("inspecting " + count.Of(len(machines), "machine"))
		entries, err := resetter.Plan(ctx, machines, options)
		if err != nil {
			return plugin.Result{}, err
		}
		return s.env.answer(ctx, call, resetter.Cluster, resetPlanResult(entries, dryRun))
	}}, nil
}

// resetPlans answers plans of resets.
var resetPlans = planFormat[reset.Entry, reset.Action]{
	order:  []reset.Action{reset.ActionRefuse, reset.ActionReset, reset.ActionNothing},
	refuse: reset.ActionRefuse,
	fields: func(e reset.Entry) (string, reset.Action, []string) { return e.Machine, e.Action, e.Reasons },
	table:  reset.Table,
}

// resetPlanResult fans out over the machines that are to be reset.
func resetPlanResult(entries []reset.Entry, dryRun bool) planned {
	work, refused := resetPlans.with(reset.ActionReset, entries), resetPlans.with(reset.ActionRefuse, entries)
	lines := []string{leavePlanMessage(len(work), len(entries), len(refused), "reset")}
	lines = append(lines, resetPlans.lines(refused)...)
	return resetPlans.result(entries, work, dryRun, strings.Join(lines, "\n"))
}
