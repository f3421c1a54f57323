package steps

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/reset"
)

// leavePlanMessage is the first line of a plan of machines that leave: how many do, and how many have left.
func leavePlanMessage(work, all, refused int, done string) string {
	text := fmt.Sprintf("%d of %d machines to %s, %d left already", work, all, done, all-work-refused)
	if refused > 0 {
		text += fmt.Sprintf(", %d can't:", refused)
	}
	return text
}

// verifyExecution inspects the machines once more and fails unless all have left.
func verifyExecution(env *Env, call plugin.Call, cluster, machines string,
	verify func(context.Context, *reset.Resetter, []config.Machine) ([]reset.Finding, error),
) plugin.Execution {
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		resetter, err := env.resetter(ctx, call, cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		selected, err := resetter.Cluster.SelectNamed(machines)
		if err != nil {
			return plugin.Result{}, err
		}
		report("inspecting " + count.Of(len(selected), "machine"))
		findings, err := verify(ctx, resetter, selected)
		if err != nil {
			return plugin.Result{}, err
		}
		return leftResult(findings), nil
	}}
}

func leftResult(findings []reset.Finding) plugin.Result {
	unsound := reset.Unsound(findings)
	result := plugin.Result{
		Phase:   plugin.Succeeded,
		Message: fmt.Sprintf("%d of %d machines have left", len(findings)-len(unsound), len(findings)),
		Outputs: map[string]string{
			"table":  boundTable(reset.FindingsTable(findings)),
			"report": encodeReport(findings),
		},
	}
	if len(unsound) == 0 {
		return result
	}
	lines := []string{result.Message + "; not so:"}
	for _, finding := range unsound {
		lines = append(lines, machineLine(finding.Machine, finding.Problems))
	}
	result.Phase, result.Message = plugin.Failed, strings.Join(lines, "\n")
	return result
}
