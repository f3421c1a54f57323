package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
)

// planStep reports for each machine the work of a join, or why it cannot join.
type planStep struct{ env *Env }

func (planStep) Name() string      { return "plan" }
func (planStep) Outputs() []string { return []string{"machines", "groups", "table", "plan"} }

func (s planStep) Prepare(call plugin.Call) (plugin.Execution, error) {
	var in planInput
	dryRun, err := decodePlan(call, &in)
	if err != nil {
		return plugin.Execution{}, err
	}
	return plugin.Execution{Run: func(ctx context.Context, report func(string)) (plugin.Result, error) {
		cluster, entries, err := s.env.plan(ctx, call, in, report)
		if err != nil {
			return plugin.Result{}, err
		}
		return s.env.answer(ctx, call, cluster, planResult(entries, dryRun))
	}}, nil
}

// planInput holds the inputs of the steps that plan.
type planInput struct {
	Cluster     string `json:"cluster"`
	Machines    string `json:"machines"`
	Concurrency string `json:"concurrency"`
	DryRun      string `json:"dryRun"`
}

// decodePlan decodes the inputs of a step that plans into in, which embeds planInput, and returns its dryRun. Argo's
// command line does not hold users to the template's enum, and with any other word its conditions would skip every step
// and call that a success.
func decodePlan(call plugin.Call, in any) (dryRun bool, err error) {
	if err := call.Decode(in); err != nil {
		return false, err
	}
	if err := checkConditions(call, "dryRun"); err != nil {
		return false, err
	}
	return parseBool("dryRun", call.Input("dryRun"))
}

// selected returns the input's machines, as choose finds them: the cluster's Select or SelectNamed.
func (in planInput) selected(cluster *config.Cluster, choose func(*config.Cluster, string) ([]config.Machine,
	error),
) ([]config.Machine, error) {
	machines, err := choose(cluster, in.Machines)
	if err != nil {
		return nil, err
	}
	// Only the steps that follow work with it; that it means nothing is to be known before.
	_, err = concurrency(in.Concurrency, cluster)
	return machines, err
}

// plan inspects the machines that the input selects.
func (e *Env) plan(ctx context.Context, call plugin.Call, in planInput, report func(string)) (*config.Cluster,
	[]join.Entry, error,
) {
	joiner, err := e.joiner(ctx, call, in.Cluster)
	if err != nil {
		return nil, nil, err
	}
	machines, err := in.selected(joiner.Cluster, (*config.Cluster).Select)
	if err != nil {
		return nil, nil, err
	}
	entries, err := joiner.Plan(ctx, machines, operation.AsText(report))
	if err == nil {
		e.observePlan(ctx, call, joiner, entries)
	}
	return joiner.Cluster, entries, err
}

// joinPlans answers plans of joins and of reconciliations.
var joinPlans = planFormat[join.Entry, join.Action]{
	order: []join.Action{
		join.ActionRefuse, join.ActionJoin, join.ActionReconcile, join.ActionMark, join.ActionUpgrade,
		join.ActionNothing,
	},
	refuse: join.ActionRefuse,
	fields: func(e join.Entry) (string, join.Action, []string) { return e.Machine, e.Action, e.Reasons },
	table:  join.Table,
}

// planResult fans out over the machines that are to join.
func planResult(entries []join.Entry, dryRun bool) planned {
	return joinPlans.result(entries, join.Work(entries), dryRun, planMessage(entries))
}

func planMessage(entries []join.Entry) string {
	work, refused := join.Work(entries), join.Refused(entries)
	differing := slices.DeleteFunc(join.Differing(entries),
		func(e join.Entry) bool { return e.Action == join.ActionMark })
	text := fmt.Sprintf("%d of %d machines to join, %d as wanted already", len(work), len(entries),
		len(join.AsWanted(entries)))
	if len(differing) > 0 {
		text += fmt.Sprintf(", %d differing from the documents, which workflow reconcile puts right",
			len(differing))
	}
	if later := join.AtOtherVersion(entries); len(later) > 0 {
		text += fmt.Sprintf(", %d at another version, which workflow upgrade is for", len(later))
	}
	if len(refused) == 0 {
		return text
	}
	lines := []string{fmt.Sprintf("%s, %d can't be joined:", text, len(refused))}
	return strings.Join(append(lines, joinPlans.lines(refused)...), "\n")
}
