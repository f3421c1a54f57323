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
func (joinStep) Outputs() []string { return []string{"node", "version", "changed", "table", "report"} }

func (s joinStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	return s.env.joinerExecution(call, s, (*join.Joiner).Join)
}

// joinerMethod is a method that works on one machine.
type joinerMethod func(joiner *join.Joiner, ctx context.Context, machine config.Machine, limiter *operation.Limiter,
	progress operation.Progress) (join.Outcome, error)

// joinerExecution prepares a step that works on machines of a cluster by a method of its Joiner.
func (e *Env) joinerExecution(call plugin.Call, step plugin.Step, do joinerMethod) (plugin.Execution, error) {
	var in machineInput
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	return e.machineExecution(call, in, step, func(ctx context.Context) (*config.Cluster, limitedWork, error) {
		joiner, err := e.joiner(ctx, call, in.Cluster)
		if err != nil {
			return nil, nil, err
		}
		return joiner.Cluster, func(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
			progress operation.Progress,
		) (plugin.Result, error) {
			outcome, err := do(joiner, ctx, machine, limiter, progress)
			if err != nil {
				e.nodeEvent(ctx, call, joiner, machine.NodeName, failureOf(step.Name(), err))
				return plugin.Result{Outputs: map[string]string{"report": encode(outcome)}}, err
			}
			if outcome.Changed {
				e.nodeEvent(ctx, call, joiner, outcome.Node, successOf(step.Name(), outcome.String()))
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"node": outcome.Node, "version": outcome.Version, "changed": strconv.FormatBool(outcome.Changed),
				"report": encode(outcome),
			}}, nil
		}, nil
	}), nil
}
