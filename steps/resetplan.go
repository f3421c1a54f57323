package steps

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/plugin"
	"argosy.dev/argosy/pkg/reset"
)

// resetChoices are the parameters that all steps of a reset get.
type resetChoices struct {
	ClusterGone   string `json:"clusterGone"`
	RemoveVolumes string `json:"removeVolumes"`
}

func (in resetChoices) read() (reset.Options, error) {
	var options reset.Options
	err := choose(choice{"clusterGone", in.ClusterGone, &options.ClusterGone},
		choice{"removeVolumes", in.RemoveVolumes, &options.RemoveVolumes})
	return options, err
}

// resetPlanStep says for each machine what a reset will take away, or why it can't.
type resetPlanStep struct{ env *Env }

func (resetPlanStep) Name() string      { return "reset-plan" }
func (resetPlanStep) Outputs() []string { return []string{"machines", "table", "plan"} }

func (s resetPlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		planInput
		resetChoices
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	options, err := in.read()
	if err != nil {
		return plugin.Execution{}, err
	}
	dryRun, err := yes("dryRun", in.DryRun)
	if err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		conductor, err := s.env.resetter(ctx, call, in.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := in.selected(conductor.Cluster, (*config.Cluster).SelectNamed)
		if err != nil {
			return plugin.Result{}, err
		}
		report(fmt.Sprintf("looking at %d machines", len(machines)))
		entries, err := conductor.Plan(ctx, machines, options)
		if err != nil {
			return plugin.Result{}, err
		}
		return resetPlanResult(entries, dryRun), nil
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
func resetPlanResult(entries []reset.Entry, dryRun bool) plugin.Result {
	work, refused := resetPlans.with(reset.ActionReset, entries), resetPlans.with(reset.ActionRefuse, entries)
	lines := []string{leaveMessage(len(work), len(entries), len(refused), "reset")}
	lines = append(lines, resetPlans.lines(refused)...)
	return resetPlans.result(entries, work, dryRun, strings.Join(lines, "\n"))
}
