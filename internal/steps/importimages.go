package steps

import (
	"context"
	"strconv"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/operation"
)

// importImagesStep imports images into one machine.
type importImagesStep struct{ env *Env }

func (importImagesStep) Name() string      { return "import-images" }
func (importImagesStep) Outputs() []string { return []string{"changed", "table", "report"} }

func (s importImagesStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		machineInput
		Images string `json:"images"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	return s.env.machineExecution(call, in.machineInput, s, func(ctx context.Context) (*config.Cluster,
		limitedWork, error,
	) {
		importer, err := s.env.importer(ctx, call, in.Cluster)
		if err != nil {
			return nil, nil, err
		}
		return importer.Cluster, func(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
			progress operation.Progress,
		) (plugin.Result, error) {
			outcome, err := importer.Import(ctx, machine, images.Split(in.Images), limiter, progress)
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"changed": strconv.FormatBool(outcome.Changed), "report": encode(outcome),
			}}, nil
		}, nil
	}), nil
}
