package steps

import (
	"context"
	"strconv"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/operation"
)

// importImagesStep imports images into one machine.
type importImagesStep struct{ env *Env }

func (importImagesStep) Name() string      { return "import-images" }
func (importImagesStep) Outputs() []string { return []string{"changed", "report"} }

func (s importImagesStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		machineInput
		Images string `json:"images"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{
		Key: in.key("import-images"),
		Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
			importer, err := s.env.importer(ctx, call, in.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			machine, limiter, err := s.env.machineAndLimiter(call, in.machineInput, importer.Cluster)
			if err != nil {
				return plugin.Result{}, err
			}
			outcome, err := importer.Import(ctx, machine, images.Split(in.Images), limiter,
				operation.AsText(report))
			if err != nil {
				return plugin.Result{}, err
			}
			return plugin.Result{Phase: plugin.Succeeded, Message: outcome.String(), Outputs: map[string]string{
				"changed": strconv.FormatBool(outcome.Changed), "report": encode(outcome),
			}}, nil
		},
	}, nil
}
