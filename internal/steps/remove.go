package steps

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/remove"
)

// removeParams are the parameters of all steps of a removal.
type removeParams struct {
	Drain         string `json:"drain"`
	DrainTimeout  string `json:"drainTimeout"`
	Force         string `json:"force"`
	Unreachable   string `json:"unreachable"`
	RemoveVolumes string `json:"removeVolumes"`
}

// removeRequest holds the parsed parameters; an empty timeout is the fleet's.
type removeRequest struct {
	options remove.Options
	force   bool
	timeout time.Duration
}

func (in removeParams) parse() (removeRequest, error) {
	var out removeRequest
	if in.Drain == "" {
		in.Drain = "true"
	}
	err := parseBools(
		boolParam{"drain", in.Drain, &out.options.Drain}, boolParam{"force", in.Force, &out.force},
		boolParam{"unreachable", in.Unreachable, &out.options.Unreachable},
		boolParam{"removeVolumes", in.RemoveVolumes, &out.options.RemoveVolumes},
	)
	if err != nil || in.DrainTimeout == "" {
		return out, err
	}
	timeout, err := time.ParseDuration(in.DrainTimeout)
	if err != nil || timeout <= 0 {
		return out, fmt.Errorf("the parameter \"drainTimeout\" is %q: give a time such as 90s or 5m, or nothing for "+
			"drain.timeout of argosy.yaml", in.DrainTimeout)
	}
	out.timeout = timeout
	return out, nil
}

func (r removeRequest) optionsFor(policy config.Drain) remove.Options {
	options := r.options
	options.Policy = policy
	options.Policy.Force = policy.Force || r.force
	if r.timeout > 0 {
		options.Policy.Timeout.Duration = r.timeout
	}
	return options
}

// remover opens cluster for removals.
func (e *Env) remover(ctx context.Context, call plugin.Call, cluster string) (*remove.Remover, error) {
	resetter, err := e.resetter(ctx, call, cluster)
	if err != nil {
		return nil, err
	}
	return &remove.Remover{Resetter: resetter}, nil
}

// removeStep takes one machine out of its cluster.
type removeStep struct{ env *Env }

func (removeStep) Name() string      { return "remove" }
func (removeStep) Outputs() []string { return []string{"node", "changed", "table", "report"} }

func (s removeStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		machineInput
		removeParams
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	asked, err := in.parse()
	if err != nil {
		return plugin.Execution{}, err
	}
	return s.env.machineExecution(call, in.machineInput, s, func(ctx context.Context) (*config.Cluster,
		limitedWork, error,
	) {
		remover, err := s.env.remover(ctx, call, in.Cluster)
		if err != nil {
			return nil, nil, err
		}
		options := asked.optionsFor(remover.Cluster.Fleet.Drain)
		return remover.Cluster, func(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
			progress operation.Progress,
		) (plugin.Result, error) {
			outcome, err := remover.Remove(ctx, machine, options, limiter, progress)
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"node": outcome.Node, "changed": strconv.FormatBool(outcome.Changed), "report": encode(outcome),
			}}, nil
		}, nil
	}), nil
}
