package steps

import (
	"fmt"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// machineInput holds the inputs of the steps that work on one machine.
type machineInput struct {
	Cluster     string `json:"cluster"`
	Machine     string `json:"machine"`
	Concurrency string `json:"concurrency"`
}

// key is that of the step's execution: two requests for one machine share one run.
func (in machineInput) key(step string) string { return step + "/" + in.Cluster + "/" + in.Machine }

// machineAndLimiter finds the machine that the input names in the opened cluster, and the limiter of its workflow.
func (e *Env) machineAndLimiter(call plugin.Call, in machineInput, cluster *config.Cluster) (config.Machine,
	*operation.Limiter,
	error,
) {
	machine, err := findMachine(cluster, in.Machine)
	if err != nil {
		return machine, nil, err
	}
	limit, err := concurrency(in.Concurrency, cluster)
	if err != nil {
		return machine, nil, err
	}
	return machine, e.limiterFor(call, in.Cluster, limit), nil
}

func findMachine(cluster *config.Cluster, name string) (config.Machine, error) {
	machine, known := cluster.Machine(name)
	if !known {
		return machine, fmt.Errorf("cluster %q has no machine %q", cluster.Name, name)
	}
	return machine, nil
}
