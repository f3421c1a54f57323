package steps

import (
	"context"
	"fmt"
	"strconv"

	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/plugin"
)

// importImagesStep imports images into one machine.
type importImagesStep struct{ env *Env }

func (importImagesStep) Name() string      { return "import-images" }
func (importImagesStep) Outputs() []string { return []string{"changed", "report"} }

func (s importImagesStep) Prepare(call plugin.Call) (plugin.Flight, error) {
	var in struct {
		Cluster     string `json:"cluster"`
		Machine     string `json:"machine"`
		Images      string `json:"images"`
		Concurrency string `json:"concurrency"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Flight{}, err
	}
	return plugin.Flight{
		Key: "import-images/" + in.Cluster + "/" + in.Machine,
		Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
			conductor, err := s.env.importer(ctx, call, in.Cluster)
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
			outcome, err := conductor.Import(ctx, machine, images.Split(in.Images), s.env.windowFor(call, in.Cluster, limit), report)
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"changed": strconv.FormatBool(outcome.Changed), "report": encode(outcome),
			}}, nil
		},
	}, nil
}
