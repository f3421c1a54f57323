package steps

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/plugin"
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

// result answers a plan. The workflow fans out over the machines of work and over those that were refused: each of
// these then fails by name in a step of its own, while the others finish. A dry run has no such steps, so that it fails
// here.
func (f planFormat[E, A]) result(entries, work []E, dryRun bool, message string) plugin.Result {
	refused := f.with(f.refuse, entries)
	items := []item{}
	for _, entry := range slices.Concat(work, refused) {
		machine, _, _ := f.fields(entry)
		items = append(items, item{machine})
	}
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b E) int { return cmp.Compare(f.rank(a), f.rank(b)) })
	result := plugin.Result{Phase: plugin.Succeeded, Message: message, Outputs: map[string]string{
		"machines": encode(items), "table": boundTable(f.table(sorted)), "plan": encodeReport(sorted),
	}}
	if dryRun && len(refused) > 0 {
		result.Phase = plugin.Failed
	}
	return result
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

// item is one machine that a plan fans out over.
type item struct {
	Machine string `json:"machine"`
}
