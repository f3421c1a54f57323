package steps

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/plugin"
)

// imagesPlanStep says for each machine whether it lacks images.
type imagesPlanStep struct{ env *Env }

func (imagesPlanStep) Name() string      { return "images-plan" }
func (imagesPlanStep) Outputs() []string { return []string{"machines", "table", "plan"} }

func (s imagesPlanStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in struct {
		planInput
		Images string `json:"images"`
	}
	if err := call.Decode(&in); err != nil {
		return plugin.Execution{}, err
	}
	if _, err := yes("dryRun", in.DryRun); err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		conductor, err := s.env.importer(ctx, call, in.Cluster)
		if err != nil {
			return plugin.Result{}, err
		}
		machines, err := in.selected(conductor.Cluster, (*config.Cluster).Select)
		if err != nil {
			return plugin.Result{}, err
		}
		entries, err := conductor.Plan(ctx, machines, images.Split(in.Images), report)
		if err != nil {
			return plugin.Result{}, err
		}
		return imagesPlanResult(entries, in.DryRun == "true"), nil
	}}, nil
}

// imagesUrgency orders a plan by what people have to know first.
var imagesUrgency = map[images.Action]int{images.ActionRefuse: 0, images.ActionImport: 1, images.ActionNothing: 2}

// imagesPlanResult fans out over the machines that lack images, and over those that were refused, so that each of these
// fails by name. A dry run, which has no such steps, fails here.
func imagesPlanResult(entries []images.Entry, dryRun bool) plugin.Result {
	work, refused := images.With(images.ActionImport, entries), images.With(images.ActionRefuse, entries)
	items := []item{}
	for _, entry := range slices.Concat(work, refused) {
		items = append(items, item{entry.Machine})
	}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b images.Entry) int {
		return cmp.Compare(imagesUrgency[a.Action],
			imagesUrgency[b.Action])
	})
	lines := []string{fmt.Sprintf("%d of %d machines lack images, %d have them all", len(work), len(entries),
		len(entries)-len(work)-len(refused))}
	for _, entry := range refused {
		lines = append(lines, fmt.Sprintf("%s: %s", entry.Machine, strings.Join(entry.Reasons, "; ")))
	}
	result := plugin.Result{Phase: plugin.Succeeded, Message: strings.Join(lines, "\n"), Outputs: map[string]string{
		"machines": encode(items), "table": boundTable(images.Table(sorted)), "plan": encodeReport(sorted),
	}}
	if dryRun && len(refused) > 0 {
		result.Phase = plugin.Failed
	}
	return result
}
