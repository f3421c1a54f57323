package steps

import (
	"context"
	"fmt"
	"strconv"

	"argosy.dev/argosy/pkg/plugin"
)

// resetStep makes one machine clean again, and deletes its node.
type resetStep struct{ env *Env }

func (resetStep) Name() string      { return "reset" }
func (resetStep) Outputs() []string { return []string{"changed", "report"} }

func (s resetStep) Prepare(call plugin.Call) (plugin.Flight, error) {
	var in struct {
		resetChoices
		Machine     string `json:"machine"`
		Concurrency string `json:"concurrency"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Flight{}, err
	}
	options, err := in.read()
	if err != nil {
		return plugin.Flight{}, err
	}
	return plugin.Flight{
		Key: "reset/" + in.Cluster + "/" + in.Machine,
		Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
			conductor, err := s.env.resetter(ctx, call, in.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			machine, known := conductor.Cluster.Machine(in.Machine)
			if !known {
				return plugin.Result{}, fmt.Errorf("cluster %q has no machine %q", in.Cluster, in.Machine)
			}
			limit, err := concurrency(in.Concurrency, conductor.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			outcome, err := conductor.Reset(ctx, machine, options, s.env.windowFor(call, in.Cluster, limit), report)
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"changed": strconv.FormatBool(outcome.Changed), "report": encode(outcome),
			}}, nil
		},
	}, nil
}

// yes reads a parameter that is true or false; empty is false.
func yes(name, text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, fmt.Errorf("the parameter %q is %q: give true or false", name, text)
}
