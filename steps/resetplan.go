package steps

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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

// resetUrgency orders a plan by what people have to know first.
var resetUrgency = map[reset.Action]int{reset.ActionRefuse: 0, reset.ActionReset: 1, reset.ActionNothing: 2}

// resetPlanResult fans out as that of a removal does.
func resetPlanResult(entries []reset.Entry, dryRun bool) plugin.Result {
	items, refused := []item{}, []string{}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b reset.Entry) int {
		return cmp.Compare(resetUrgency[a.Action],
			resetUrgency[b.Action])
	})
	for _, entry := range sorted {
		if entry.Action == reset.ActionNothing {
			continue
		}
		items = append(items, item{entry.Machine})
		if entry.Action == reset.ActionRefuse {
			refused = append(refused, fmt.Sprintf("%s: %s", entry.Machine, strings.Join(entry.Reasons, "; ")))
		}
	}
	result := plugin.Result{
		Phase: plugin.Succeeded,
		Message: strings.Join(append([]string{leaveMessage(len(items)-len(refused), len(entries), len(refused),
			"reset")}, refused...), "\n"),
		Outputs: map[string]string{"machines": encode(items), "table": boundTable(reset.Table(sorted)),
			"plan": encodeReport(sorted)},
	}
	if dryRun && len(refused) > 0 {
		result.Phase = plugin.Failed
	}
	return result
}
