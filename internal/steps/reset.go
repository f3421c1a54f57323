package steps

import (
	"context"
	"strconv"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/operation"
)

// resetStep makes one machine clean again, and deletes its node.
type resetStep struct{ env *Env }

func (resetStep) Name() string      { return "reset" }
func (resetStep) Outputs() []string { return []string{"changed", "report"} }

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
	return plugin.Execution{
		Key: in.key("reset"),
		Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
			resetter, err := s.env.resetter(ctx, call, in.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			machine, limiter, err := s.env.machineAndLimiter(call, in.machineInput, resetter.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			outcome, err := resetter.Reset(ctx, machine, options, limiter, operation.AsText(report))
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"changed": strconv.FormatBool(outcome.Changed), "report": encode(outcome),
			}}, nil
		},
	}, nil
}
