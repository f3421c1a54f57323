package steps

import (
	"context"
	"strconv"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
)

// joinStep makes one machine a Ready node.
type joinStep struct{ env *Env }

func (joinStep) Name() string      { return "join" }
func (joinStep) Outputs() []string { return []string{"node", "version", "changed", "report"} }

func (s joinStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return s.env.machineExecution(call, "join", (*join.Joiner).Join)
}

// joinerMethod is a method that works on one machine.
type joinerMethod func(joiner *join.Joiner, ctx context.Context, machine config.Machine, limiter *operation.Limiter,
	progress operation.Progress) (join.Outcome, error)

// machineExecution prepares a step that works on one machine of a cluster.
func (e *Env) machineExecution(call plugin.Call, step string, do joinerMethod) (plugin.Execution, error) {
	var in machineInput
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{
		Key: in.key(step),
		Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
			joiner, err := e.joiner(ctx, call, in.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			machine, limiter, err := e.machineAndLimiter(call, in, joiner.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			outcome, err := do(joiner, ctx, machine, limiter, operation.AsText(report))
			if err != nil {
				e.nodeEvent(ctx, call, joiner, machine.NodeName, failureOf(step, err))
				return plugin.Result{}, err
			}
			if outcome.Changed {
				e.nodeEvent(ctx, call, joiner, outcome.Node, successOf(step, outcome.String()))
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"node": outcome.Node, "version": outcome.Version, "changed": strconv.FormatBool(outcome.Changed),
				"report": encode(outcome),
			}}, nil
		},
	}, nil
}
