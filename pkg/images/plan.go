package images

import (
	"context"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/operation"
)

// Action is the planned effect of an import on a machine.
type Action string

// The actions.
const (
	// ActionImport: it lacks images, or whether it does is not known.
	ActionImport Action = "import"
	// ActionNothing: every image is there.
	ActionNothing Action = "nothing"
	// ActionRefuse: nothing can be imported there as it is; Reasons has the causes.
	ActionRefuse Action = "refuse"
)

// Entry is the plan for one machine.
type Entry struct {
	Machine string `json:"machine"`
	Address string `json:"address"`
	Action  Action `json:"action"`
	// Reasons are problems of a refusal, or the images to import.
	Reasons []string `json:"reasons,omitempty"`
}

// Plan inspects every machine and returns the effect of Import on each. It changes none of them, beyond placing
// argosy-node there. A machine that can't be reached is a refusal with the reason; sources that can't be had are an
// error of the plan.
func (i *Importer) Plan(ctx context.Context, machines []config.Machine, items []string,
	progress operation.Progress,
) ([]Entry, error) {
	if _, err := i.who(ctx); err != nil {
		return nil, err
	}
	operation.Reportf(progress, "looking for the images")
	for _, machine := range machines {
		if _, _, err := i.operations(ctx, machine, items); err != nil {
			return nil, err
		}
	}
	return operation.Inspect(ctx, machines, progress, func(ctx context.Context, machine config.Machine) Entry {
		return i.planOne(ctx, machine, items)
	})
}

func (i *Importer) planOne(ctx context.Context, machine config.Machine, items []string) Entry {
	entry := Entry{Machine: machine.Name, Address: machine.Address, Action: ActionRefuse}
	if len(items) == 0 && len(i.Cluster.Settings(machine).Containerd.ImportImages) == 0 {
		entry.Action, entry.Reasons = ActionNothing, []string{"neither the documents nor the call name images for it"}
		return entry
	}
	found, err := i.inspect(ctx, machine, items)
	if err != nil {
		entry.Reasons = []string{err.Error()}
		return entry
	}
	plan := found.Facts.Plan
	switch {
	case plan.Error != nil && plan.Error.Class == errclass.Transient:
		// Seen once more when its turn comes.
		entry.Action, entry.Reasons = ActionImport, operation.Problems(plan.Error)
	case plan.Error != nil:
		entry.Reasons = operation.Problems(plan.Error)
	case operation.Wants(plan):
		entry.Action, entry.Reasons = ActionImport, []string{detailOf(plan.Phases)}
	default:
		entry.Action, entry.Reasons = ActionNothing, []string{detailOf(plan.Phases)}
	}
	return entry
}

// With gives the entries of one action.
func With(action Action, entries []Entry) []Entry {
	var found []Entry
	for _, entry := range entries {
		if entry.Action == action {
			found = append(found, entry)
		}
	}
	return found
}

// Table prints a plan for people, a machine a line, further reasons beneath.
func Table(entries []Entry) string {
	table := operation.NewTable("MACHINE", "ADDRESS", "ACTION", "WHAT")
	for _, entry := range entries {
		table.Add(entry.Reasons, entry.Machine, entry.Address, string(entry.Action))
	}
	return table.String()
}
