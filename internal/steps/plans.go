package steps

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
)

// planFormat describes how plans of one kind of operation are answered. E is the entry of one machine, A its action.
type planFormat[E any, A comparable] struct {
	// order lists the actions in the order of the table and the report: refusals come first.
	order []A
	// refuse is the action of a machine that cannot be worked on.
	refuse A
	fields func(entry E) (machine string, action A, reasons []string)
	table  func(entries []E) string
}

// with returns the entries with an action.
func (f planFormat[E, A]) with(action A, entries []E) []E {
	var found []E
	for _, entry := range entries {
		if _, has, _ := f.fields(entry); has == action {
			found = append(found, entry)
		}
	}
	return found
}

// planned is the answer of a plan, without the machines that the workflow fans out over.
type planned struct {
	plugin.Result
	// machines that get work, or fail by name.
	machines []string
	// entries of all machines, their number, and their output where they are complete in a ConfigMap.
	entries any
	count   int
	output  func(configMap string) string
}

// result answers a plan. The workflow fans out over the machines of work and over those that were refused: each of
// these then fails by name in a step of its own, while the others finish. A dry run has no such steps, so that it fails
// here.
func (f planFormat[E, A]) result(entries, work []E, dryRun bool, message string) planned {
	refused := f.with(f.refuse, entries)
	var machines []string
	for _, entry := range slices.Concat(work, refused) {
		machine, _, _ := f.fields(entry)
		machines = append(machines, machine)
	}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b E) int { return cmp.Compare(f.rank(a), f.rank(b)) })
	result := plugin.Result{Phase: plugin.Succeeded, Message: message, Outputs: map[string]string{
		"table": boundTable(f.table(sorted)), "plan": encodeReport(sorted),
	}}
	if dryRun && len(refused) > 0 {
		result.Phase = plugin.Failed
	}
	return planned{
		Result: result, machines: machines, entries: sorted, count: len(sorted),
		output: func(configMap string) string { return encodeReportIn(sorted, configMap) },
	}
}

// answer completes the answer of a plan with what the workflow fans out over. A plan of many machines is kept in
// ConfigMaps.
func (e *Env) answer(ctx context.Context, call plugin.Call, cluster *config.Cluster, p planned) (plugin.Result, error) {
	if err := e.fanOut(ctx, call, cluster, p.machines, p.Result); err != nil {
		return plugin.Result{}, err
	}
	if p.count > maxOwnSteps {
		kept, err := e.keep(ctx, call, "plan", cluster, p.entries)
		if err != nil {
			return plugin.Result{}, err
		}
		p.Outputs["plan"] = p.output(kept)
	}
	return p.Result, nil
}

// fanOut sets output "machines": an item for each machine, or for each group of many machines. Output "groups" is then
// the ConfigMap with the groups. Items are plain strings: of a map, Argo writes the keys too into the names of nodes.
func (e *Env) fanOut(ctx context.Context, call plugin.Call, cluster *config.Cluster, machines []string,
	result plugin.Result,
) error {
	groups, items := groupsOf(machines, len(machines)), []string{}
	for _, g := range groups {
		items = append(items, g.name())
	}
	result.Outputs["machines"], result.Outputs["groups"] = encode(items), ""
	if len(groups) == len(machines) {
		return nil
	}
	kept, err := e.keep(ctx, call, "groups", cluster, groups)
	result.Outputs["groups"] = kept
	return err
}

func (f planFormat[E, A]) rank(entry E) int {
	_, action, _ := f.fields(entry)
	return slices.Index(f.order, action)
}

// lines returns a line for each entry: its machine and the reasons.
func (f planFormat[E, A]) lines(entries []E) []string {
	var lines []string
	for _, entry := range entries {
		machine, _, reasons := f.fields(entry)
		lines = append(lines, machineLine(machine, reasons))
	}
	return lines
}

// machineLine is the line of a message about one machine.
func machineLine(machine string, texts []string) string {
	return fmt.Sprintf("%s: %s", machine, strings.Join(texts, "; "))
}
