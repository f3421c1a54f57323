package steps

import (
	"context"
	"fmt"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// machineInput holds the inputs of the steps that work on one machine, or on a group of machines.
type machineInput struct {
	Cluster string `json:"cluster"`
	// Machine is the name of a machine, or of a group of the plan.
	Machine     string `json:"machine"`
	Concurrency string `json:"concurrency"`
	// Groups is the ConfigMap with the groups of the plan; empty where each machine has its own step.
	Groups string `json:"groups"`
}

// key is that of the step's execution: two requests for one machine share one run. Groups are those of one workflow.
func (in machineInput) key(call plugin.Call) string {
	if isGroup(in.Machine) {
		return call.Step + "/" + in.Cluster + "/" + call.Workflow.UID + "/" + in.Machine
	}
	return call.Step + "/" + in.Cluster + "/" + in.Machine
}

// openCluster opens the cluster of a step, and returns the step's work on one machine of it.
type openCluster func(ctx context.Context) (*config.Cluster, limitedWork, error)

// limitedWork works on one machine, inside limiter.
type limitedWork func(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
	progress operation.Progress) (plugin.Result, error)

// machineExecution prepares a step that works on a machine, or on a group of machines. step is that step.
func (e *Env) machineExecution(call plugin.Call, in machineInput, step plugin.Step,
	open openCluster,
) plugin.Execution {
	return plugin.Execution{
		Key: in.key(call),
		Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
			cluster, do, err := open(ctx)
			if err != nil {
				return plugin.Result{}, err
			}
			limit, err := concurrency(in.Concurrency, cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			limiter := e.limiterFor(call, in.Cluster, limit)
			work := e.timed(call, in.Cluster, func(ctx context.Context, machine config.Machine,
				progress operation.Progress,
			) (plugin.Result, error) {
				return do(ctx, machine, limiter, progress)
			})
			if isGroup(in.Machine) {
				members, err := e.members(ctx, call, in, cluster)
				if err != nil {
					return plugin.Result{}, err
				}
				return e.runGroup(ctx, members, &groupWork{
					call: call, step: step, cluster: cluster, do: work, report: report,
					each: inLimiter(e.aheadFor(call, in.Cluster, limit)),
				})
			}
			machine, err := findMachine(cluster, in.Machine)
			if err != nil {
				return plugin.Result{}, err
			}
			return work(ctx, machine, report)
		},
	}
}

// members returns the machines of the group that the input names.
func (e *Env) members(ctx context.Context, call plugin.Call, in machineInput, cluster *config.Cluster) (group, error) {
	if in.Groups == "" {
		return nil, fmt.Errorf("the parameter \"machine\" is %q, which is no machine's name, and \"groups\" is empty: "+
			"give the output \"groups\" of the plan", in.Machine)
	}
	var groups []group
	if err := e.kept(ctx, call, in.Groups, cluster, &groups); err != nil {
		return nil, err
	}
	return groupNamed(groups, in.Machine)
}

func findMachine(cluster *config.Cluster, name string) (config.Machine, error) {
	machine, known := cluster.Machine(name)
	if !known {
		return machine, fmt.Errorf("cluster %q has no machine %q", cluster.Name, name)
	}
	return machine, nil
}
