package reset

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/conduct"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/spec"
)

// Action is what a reset would do with a machine.
type Action string

// The actions.
const (
	// ActionReset: there is something to take away.
	ActionReset Action = "reset"
	// ActionNothing: the machine is clean.
	ActionNothing Action = "nothing"
	// ActionRefuse: it can't be reset as it is; Reasons say why. Nothing will be touched.
	ActionRefuse Action = "refuse"
)

// Entry is the plan for one machine.
type Entry struct {
	Machine string `json:"machine"`
	Address string `json:"address"`
	Action  Action `json:"action"`
	// Reasons are problems of a refusal, or what there is to take away.
	Reasons []string `json:"reasons,omitempty"`
}

// planParallel is how many machines are looked at at once.
const planParallel = 64

// Plan looks at every machine and says for each what Reset would do. It touches none of them, beyond placing argosy-node
// there. A machine that can't be reached is a refusal with the reason, not an error of the plan.
func (c *Conductor) Plan(ctx context.Context, machines []config.Machine, options Options) ([]Entry, error) {
	if !options.ClusterGone {
		if _, err := c.connect(ctx); err != nil {
			return nil, fmt.Errorf("%w; if the cluster is gone for good, say so", err)
		}
	}
	entries := make([]Entry, len(machines))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(planParallel)
	for i, machine := range machines {
		group.Go(func() error {
			entries[i] = c.planOne(ctx, machine, options)
			return context.Cause(ctx)
		})
	}
	return entries, group.Wait()
}

func (c *Conductor) planOne(ctx context.Context, machine config.Machine, options Options) Entry {
	entry := Entry{Machine: machine.Name, Address: machine.Address, Action: ActionRefuse}
	seen, err := c.look(ctx, machine, options)
	if err != nil {
		entry.Reasons = []string{err.Error()}
		return entry
	}
	plan := seen.facts.Plan
	if plan.Error != nil {
		entry.Reasons = conduct.Problems(plan.Error)
		return entry
	}
	entry.Action, entry.Reasons = ActionNothing, []string{proofIn(plan.Phases)}
	if !conduct.Wants(plan) {
		return entry
	}
	entry.Action, entry.Reasons = ActionReset, nil
	for _, phase := range plan.Phases {
		if (phase.Outcome == spec.Wanted && phase.Name != "prove") || phase.Name == "preflight" {
			entry.Reasons = append(entry.Reasons, phase.Name+": "+phase.Detail)
		}
	}
	return entry
}

// Table prints a plan for people, a machine a line, further reasons beneath.
func Table(entries []Entry) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "MACHINE\tADDRESS\tACTION\tWHAT")
	for _, entry := range entries {
		for i, reason := range entry.Reasons {
			if i == 0 {
				_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", entry.Machine, entry.Address, entry.Action, reason)
				continue
			}
			_, _ = fmt.Fprintf(table, "\t\t\t%s\n", reason)
		}
	}
	_ = table.Flush()
	return text.String()
}
