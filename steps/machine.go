package steps

import (
	"fmt"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/plugin"
)

// machineInput is what the steps that work on one machine are given.
type machineInput struct {
	Cluster     string `json:"cluster"`
	Machine     string `json:"machine"`
	Concurrency string `json:"concurrency"`
}

// key is that of the step's execution: what is asked twice for one machine is done once.
func (in machineInput) key(step string) string { return step + "/" + in.Cluster + "/" + in.Machine }

// place finds the machine that the input names in the opened cluster, and the window that it is to work in.
func (e *Env) place(call plugin.Call, in machineInput, cluster *config.Cluster) (config.Machine, *operation.Limiter,
	error) {
	machine, err := named(cluster, in.Machine)
	if err != nil {
		return machine, nil, err
	}
	limit, err := concurrency(in.Concurrency, cluster)
	if err != nil {
		return machine, nil, err
	}
	return machine, e.windowFor(call, in.Cluster, limit), nil
}

func named(cluster *config.Cluster, name string) (config.Machine, error) {
	machine, known := cluster.Machine(name)
	if !known {
		return machine, fmt.Errorf("cluster %q has no machine %q", cluster.Name, name)
	}
	return machine, nil
}
