package steps

import (
	"context"
	"fmt"
	"strconv"

	"argosy.dev/argosy/pkg/plugin"
)

// joinStep makes one machine a Ready node.
type joinStep struct{ env *Env }

func (joinStep) Name() string      { return "join" }
func (joinStep) Outputs() []string { return []string{"node", "version", "changed", "report"} }

func (s joinStep) Prepare(call plugin.Call) (plugin.Flight, error) {
	var in struct {
		Cluster     string `json:"cluster"`
		Machine     string `json:"machine"`
		Concurrency string `json:"concurrency"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Flight{}, err
	}
	return plugin.Flight{
		Key: "join/" + in.Cluster + "/" + in.Machine,
		Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
			conductor, err := s.env.conductor(ctx, call, in.Cluster)
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
			outcome, err := conductor.Join(ctx, machine, s.env.windowFor(call, in.Cluster, limit), report)
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"node": outcome.Node, "version": outcome.Version, "changed": strconv.FormatBool(outcome.Changed), "report": encode(outcome),
			}}, nil
		},
	}, nil
}
