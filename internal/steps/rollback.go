package steps

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// rollbackPlanStep reports for each machine the effect of a rollback, or why it can't be rolled back.
type rollbackPlanStep struct{ env *Env }

func (rollbackPlanStep) Name() string      { return "rollback-plan" }
func (rollbackPlanStep) Outputs() []string { return []string{"machines", "groups", "table", "plan"} }

func (s rollbackPlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in planInput
	dryRun, err := decodePlan(call, &in)
	if err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		upgrader, err := s.env.upgrader(ctx, call, upgradeInput{Cluster: in.Cluster})
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := in.selected(upgrader.Cluster, (*config.Cluster).SelectNamed)
		if err != nil {
			return plugin.Result{}, err
		}
		entries, err := upgrader.PlanRollback(ctx, machines, operation.AsText(report))
		if err != nil {
			return plugin.Result{}, err
		}
		return s.env.answer(ctx, call, upgrader.Cluster, rollbackPlanResult(entries, dryRun))
	}}, nil
}

// rollbackPlans answers plans of rollbacks.
var rollbackPlans = planFormat[upgrade.RollbackEntry, upgrade.RollbackAction]{
	order:  []upgrade.RollbackAction{upgrade.ActionRefuse, upgrade.ActionRollback, upgrade.ActionNothing},
	refuse: upgrade.ActionRefuse,
	fields: func(e upgrade.RollbackEntry) (string, upgrade.RollbackAction, []string) {
		return e.Machine, e.Action, e.Reasons
	},
	table: upgrade.RollbackTable,
}

// rollbackPlanResult fans out over the machines that are to be rolled back.
func rollbackPlanResult(entries []upgrade.RollbackEntry, dryRun bool) planned {
	work, refused := upgrade.RollbackWork(entries), upgrade.RollbackRefused(entries)
	text := fmt.Sprintf("%d of %d machines to roll back, %d as wanted already", len(work), len(entries),
		len(entries)-len(work)-len(refused))
	if len(refused) > 0 {
		text += fmt.Sprintf(", %d can't:", len(refused))
	}
	lines := append([]string{text}, rollbackPlans.lines(refused)...)
	return rollbackPlans.result(entries, work, dryRun, strings.Join(lines, "\n"))
}

// rollbackStep takes one machine back to its state before its last upgrade, one after another.
type rollbackStep struct{ env *Env }

func (rollbackStep) Name() string      { return "rollback" }
func (rollbackStep) Outputs() []string { return []string{"version", "changed", "table", "report"} }

func (s rollbackStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		Cluster string `json:"cluster"`
		Machine string `json:"machine"`
		Groups  string `json:"groups"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	input := machineInput{Cluster: in.Cluster, Machine: in.Machine, Groups: in.Groups, Concurrency: "1"}
	return s.env.machineExecution(call, input, s, func(ctx context.Context) (*config.Cluster, limitedWork, error) {
		upgrader, err := s.env.upgrader(ctx, call, upgradeInput{Cluster: in.Cluster})
		if err != nil {
			return nil, nil, err
		}
		return upgrader.Cluster, func(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
			progress operation.Progress,
		) (plugin.Result, error) {
			outcome, err := upgrader.Rollback(ctx, machine, limiter, progress)
			if err != nil {
				s.env.nodeEvent(ctx, call, upgrader.Joiner, machine.NodeName, failureOf(s.Name(), err))
				return plugin.Result{}, err
			}
			if outcome.Changed {
				s.env.nodeEvent(ctx, call, upgrader.Joiner, outcome.Node, successOf(s.Name(), outcome.String()))
			}
			return plugin.Result{
				Phase: rollbackPhase(outcome.Left), Message: outcome.String(), Outputs: map[string]string{
					"version": outcome.Version, "changed": strconv.FormatBool(outcome.Changed),
					"report": encode(outcome),
				},
			}, nil
		}, nil
	}), nil
}

// rollbackPhase returns the phase of a machine's rollback; left is why it was left as it is. After a failure of another
// machine it is skipped. An abort fails it, and so the workflow, which has no other step that would.
func rollbackPhase(left string) plugin.Phase {
	if left == rollout.ReasonAborted {
		return plugin.Failed
	}
	return phaseOf(left)
}
