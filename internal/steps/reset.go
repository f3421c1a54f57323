package steps

import (
	"context"
	"strconv"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// resetStep makes one machine clean again, and deletes its node.
type resetStep struct{ env *Env }

func (resetStep) Name() string      { return "reset" }
func (resetStep) Outputs() []string { return []string{"changed", "table", "report"} }

func (s resetStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		machineInput
		resetParams
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	options, err := in.parse()
	if err != nil {
		return plugin.Execution{}, err
	}
	return s.env.machineExecution(call, in.machineInput, s, func(ctx context.Context) (*config.Cluster,
		limitedWork, error,
	) {
		resetter, err := s.env.resetter(ctx, call, in.Cluster)
		if err != nil {
			return nil, nil, err
		}
		return resetter.Cluster, func(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
			progress operation.Progress,
		) (plugin.Result, error) {
			outcome, err := resetter.Reset(ctx, machine, options, limiter, progress)
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"changed": strconv.FormatBool(outcome.Changed), "report": encode(outcome),
			}}, nil
		}, nil
	}), nil
}
