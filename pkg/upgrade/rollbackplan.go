package upgrade

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// RollbackAction is the planned effect of a rollback on a machine.
type RollbackAction string

// The actions.
const (
	// ActionRollback: the files from before the last upgrade are restored, or a rollback is at work and is finished.
	ActionRollback RollbackAction = "rollback"
	// ActionNothing: the machine is rolled back already.
	ActionNothing RollbackAction = "nothing"
	// ActionRefuse: it can't be rolled back as it is; Reasons has the causes.
	ActionRefuse RollbackAction = "refuse"
)

// RollbackEntry is the plan for one machine.
type RollbackEntry struct {
	Machine string         `json:"machine"`
	Address string         `json:"address"`
	Node    string         `json:"node"`
	Action  RollbackAction `json:"action"`
	// From is the version that the machine runs; empty where that is not known.
	From string `json:"from,omitempty"`
	// Reasons of a refusal, or the files to restore and the pods to evict.
	Reasons []string `json:"reasons,omitempty"`
}

// PlanRollback inspects machines, tries the evictions of their nodes by dry run, and returns the effect of Rollback on
// each. It changes nothing, beyond placing argosy-node there. A machine that can't be reached is a refusal.
func (u *Upgrader) PlanRollback(ctx context.Context, machines []config.Machine, progress operation.Progress) (
	[]RollbackEntry, error,
) {
	nodes, err := u.Target.Nodes(ctx, u.Cluster.Name)
	if err != nil {
		return nil, err
	}
	return operation.Inspect(ctx, machines, progress, func(ctx context.Context, m config.Machine) RollbackEntry {
		entry := u.planRollback(ctx, m, nodes[m.NodeName])
		u.releasePod(ctx, m)
		return entry
	})
}

// planRollback decides the action:
//
//	the machine                              its node                          action
//	does not answer, or kept nothing         any                               refuse
//	any                                      none                              refuse
//	is at this very rollback                 any                               rollback, to see it through
//	has all that it kept                     any                               nothing
//	has all that it kept                     cordoned by an upgrade            rollback: it is uncordoned
//	has files to restore                     its pods can't be evicted         refuse, unless drains are forced
//	has files to restore                     its pods can be evicted           rollback
func (u *Upgrader) planRollback(ctx context.Context, machine config.Machine, node *corev1.Node) RollbackEntry {
	entry := RollbackEntry{
		Machine: machine.Name, Address: machine.Address, Node: machine.NodeName, Action: ActionRefuse,
	}
	seen, err := u.Inspect(ctx, machine, spec.KindRollback)
	if err != nil {
		entry.Reasons = []string{err.Error()}
		return entry
	}
	plan := seen.Facts.Plan
	entry.From = versionIn(seen.Facts)
	switch {
	case plan.Error != nil && !seen.Running():
		entry.Reasons = operation.Problems(plan.Error)
	case node == nil:
		entry.Reasons = []string{fmt.Sprintf("the cluster has no node %q: join the machine first", machine.NodeName)}
	case seen.Running():
		entry.Action, entry.Reasons = ActionRollback, []string{"a rollback is at work already"}
	case !operation.Wants(plan) && !drain.Owns(node, cordonOwner):
		entry.Action, entry.Reasons = ActionNothing, details(plan.Phases)
	case !operation.Wants(plan):
		entry.Action, entry.Reasons = ActionRollback, []string{"its node is still cordoned"}
	default:
		entry.Action, entry.Reasons = ActionRollback, details(plan.Phases)
		u.planDrain(ctx, &entry, machine, node)
	}
	return entry
}

// planDrain adds the pods that are evicted, and refuses where they can't be.
func (u *Upgrader) planDrain(ctx context.Context, entry *RollbackEntry, machine config.Machine, node *corev1.Node) {
	rule := u.Cluster.UpgradeRuleFor(machine)
	if !*rule.Drain {
		entry.Reasons = append(entry.Reasons, "its pods stay")
		return
	}
	w := &machineUpgrade{upgrader: u, machine: machine, rule: rule}
	pods, err := w.drainer().Preflight(ctx, node, nil)
	if err == nil {
		entry.Reasons = append(entry.Reasons, pods.Reasons()...)
		err = pods.Refusal()
	}
	switch {
	case err == nil:
	case rule.OnDrainTimeout == config.DrainForce:
		entry.Reasons = append(entry.Reasons, err.Error()+"; they are deleted, since upgrade.onDrainTimeout is force")
	default:
		entry.Action, entry.Reasons = ActionRefuse, append(entry.Reasons, err.Error())
	}
}

// details returns a line for each phase that is wanted, beside those that follow from the restored files; where none
// is, that no changes are needed.
func details(phases []spec.Phase) []string {
	var lines []string
	for _, phase := range phases {
		if phase.Outcome == spec.Wanted && phase.Name != "healthy" {
			lines = append(lines, phase.Name+": "+phase.Detail)
		}
	}
	if len(lines) == 0 {
		lines = append(lines, "no changes needed")
	}
	return lines
}

// RollbackWork returns the machines that a rollback changes.
func RollbackWork(entries []RollbackEntry) []RollbackEntry {
	return withAction(entries, ActionRollback)
}

// RollbackRefused returns the machines that can't be rolled back.
func RollbackRefused(entries []RollbackEntry) []RollbackEntry {
	return withAction(entries, ActionRefuse)
}

func withAction(entries []RollbackEntry, action RollbackAction) []RollbackEntry {
	var found []RollbackEntry
	for _, entry := range entries {
		if entry.Action == action {
			found = append(found, entry)
		}
	}
	return found
}

// RollbackTable prints a plan for people, a machine a line, further reasons beneath.
func RollbackTable(entries []RollbackEntry) string {
	table := operation.NewTable("MACHINE", "ADDRESS", "FROM", "ACTION", "WHAT")
	for _, entry := range entries {
		table.Add(entry.Reasons, entry.Machine, entry.Address, entry.From, string(entry.Action))
	}
	return table.String()
}
