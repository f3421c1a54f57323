package steps

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/operation"
)

// imagesPlanStep reports for each machine whether it lacks images.
type imagesPlanStep struct{ env *Env }

func (imagesPlanStep) Name() string      { return "images-plan" }
func (imagesPlanStep) Outputs() []string { return []string{"machines", "groups", "table", "plan"} }

func (s imagesPlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		planInput
		Images string `json:"images"`
	}
	dryRun, err := decodePlan(call, &in)
	if err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		importer, err := s.env.importer(ctx, call, in.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := in.selected(importer.Cluster, (*config.Cluster).Select)
		if err != nil {
			return plugin.Result{}, err
		}
		entries, err := importer.Plan(ctx, machines, images.Split(in.Images), operation.AsText(report))
		if err != nil {
			return plugin.Result{}, err
		}
		return s.env.answer(ctx, call, importer.Cluster, imagesPlanResult(entries, dryRun))
	}}, nil
}

// imagesPlans answers plans of imports.
var imagesPlans = planFormat[images.Entry, images.Action]{
	order:  []images.Action{images.ActionRefuse, images.ActionImport, images.ActionNothing},
	refuse: images.ActionRefuse,
	fields: func(e images.Entry) (string, images.Action, []string) { return e.Machine, e.Action, e.Reasons },
	table:  images.Table,
}

// imagesPlanResult fans out over the machines that lack images.
func imagesPlanResult(entries []images.Entry, dryRun bool) planned {
	work, refused := images.With(images.ActionImport, entries), images.With(images.ActionRefuse, entries)
	lines := []string{fmt.Sprintf("%d of %d machines lack images, %d with all of them", len(work), len(entries),
		len(entries)-len(work)-len(refused))}
	lines = append(lines, imagesPlans.lines(refused)...)
	return imagesPlans.result(entries, work, dryRun, strings.Join(lines, "\n"))
}
