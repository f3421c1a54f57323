package join

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Action is the planned effect of a join on a machine.
type Action string

// The actions.
const (
	// ActionJoin: the machine becomes a node, or an interrupted join is finished.
	ActionJoin Action = "join"
	// ActionMark: it is a node as wanted, but for labels or taints.
	ActionMark Action = "mark"
	// ActionReconcile: it is a Ready node, and something on it is not as the documents want it; see Changes. A join
	// leaves it so.
	ActionReconcile Action = "reconcile"
	// ActionUpgrade: it is a Ready node at another version. A join and a reconciliation leave it so; workflow upgrade
	// drains it first.
	ActionUpgrade Action = "upgrade"
	// ActionNothing: everything holds.
	ActionNothing Action = "nothing"
	// ActionRefuse: it can't be joined as it is; Reasons has the causes. Nothing will be touched.
	ActionRefuse Action = "refuse"
)

// Entry is the plan for one machine.
type Entry struct {
	Machine string `json:"machine"`
	Address string `json:"address"`
	Node    string `json:"node"`
	Action  Action `json:"action"`
	Version string `json:"version"`
	// Reasons are sentences: problems of a refusal, or the work to do.
	Reasons []string `json:"reasons,omitempty"`
	// Phases that will be carried out on the machine.
	Phases []string `json:"phases,omitempty"`
	// Marks are the labels and taints of the node that differ. A join sets them too.
	Marks []string `json:"marks,omitempty"`
	// Changes are the differences of a machine that has joined, piece by piece.
	Changes []spec.Change `json:"changes,omitempty"`
	// Overrides are the settings that the machine has of its own, in words.
	Overrides []string `json:"overrides,omitempty"`
	// Remarks are sentences on findings on the machine that do not stop the join.
	Remarks []string `json:"remarks,omitempty"`
	// System describes the machine: "Debian GNU/Linux 12 · amd64 · 4 CPUs · 16 GB".
	System string `json:"system,omitempty"`
}

// Plan inspects every machine and returns the effect of Join on each. It changes none of them, beyond
// placing argosy-node there. A machine that can't be reached is a refusal with the reason, not an error of the plan.
func (j *Joiner) Plan(ctx context.Context, machines []config.Machine, progress operation.Progress) ([]Entry,
	error,
) {
	nodes, err := j.Target.Nodes(ctx, j.Cluster.Name)
	if err != nil {
		return nil, err
	}
	var seen identities
	entries, err := operation.Inspect(ctx, machines, progress, func(ctx context.Context, machine config.Machine) Entry {
		return j.planOne(ctx, machine, nodes[machine.NodeName], &seen, progress)
	})
	if err != nil {
		return nil, err
	}
	for i := range entries {
		entries[i].Remarks = append(entries[i].Remarks, seen.remarks(entries[i].Machine)...)
	}
	return entries, nil
}

func (j *Joiner) planOne(ctx context.Context, machine config.Machine, node *corev1.Node, seen *identities,
	progress operation.Progress,
) Entry {
	entry := Entry{
		Machine: machine.Name, Address: machine.Address, Node: machine.NodeName, Version: j.Version,
		Overrides: j.Cluster.Overrides(machine),
	}
	timeout := j.Cluster.SSHFor(machine).Startup()
	if node != nil {
		timeout = 0
	}
	found, err := j.inspectStarting(ctx, machine, timeout, progress)
	if err != nil {
		entry.Action, entry.Reasons = ActionRefuse, []string{err.Error()}
		return entry
	}
	entry.System = describe(found.Facts)
	entry.Remarks = remarksOf(found.Facts.Plan)
	seen.add(machine.Name, found.Facts)
	j.decide(&entry, machine, found, node)
	if entry.Action == ActionJoin && found.joins(j.Target) && !found.Running() {
		// A cluster that does not answer now is the join's to report.
		if why, err := j.groups.whyUnbound(ctx, j.Target.Client, true); err == nil && why != "" {
			entry.Remarks = append(entry.Remarks, unboundRemark(why))
		}
	}
	return entry
}

// decide fills in the action:
//
//	machine's plan             | node in the cluster                | action
//	any, has joined            | Ready at another version           | upgrade
//	has problems               | any                                | refuse
//	wants phases               | another machine's                  | refuse: the name is taken, see checkNameFree
//	wants phases, has joined   | Ready at version                   | reconcile
//	wants phases               | otherwise                          | join
//	holds                      | Ready at version, marks fit        | nothing
//	holds                      | Ready at version, marks differ     | mark
//	holds                      | missing or not Ready               | join (waits for Ready)
func (j *Joiner) decide(entry *Entry, machine config.Machine, found Inspection, node *corev1.Node) {
	plan := found.Facts.Plan
	if found.joined(j.Target) {
		entry.Changes = changesOf(plan)
	}
	switch {
	case found.atOtherVersion(j, node):
		entry.Action, entry.Changes = ActionUpgrade, nil
		entry.Reasons = []string{fmt.Sprintf("is a Ready node at %s, and workflow upgrade takes it to %s",
			node.Status.NodeInfo.KubeletVersion, j.Version)}
	case plan.Error != nil:
		entry.Action, entry.Reasons = ActionRefuse, operation.Problems(plan.Error)
	case operation.Wants(plan):
		j.decideWork(entry, machine, found, node)
	case node == nil:
		entry.Action, entry.Reasons = ActionJoin, []string{"the machine is set up, but its node is not in the cluster"}
	case NotReady(node, j.Version) != "":
		entry.Action, entry.Reasons = ActionJoin, []string{NotReady(node, j.Version)}
	default:
		entry.Action, entry.Reasons = ActionNothing, []string{"is a Ready node at " + j.Version}
		if j.noteMarks(entry, machine, node) {
			entry.Action = ActionMark
		}
	}
}

func (j *Joiner) decideWork(entry *Entry, machine config.Machine, found Inspection, node *corev1.Node) {
	entry.Phases = operation.WantedPhases(found.Facts.Plan)
	entry.Action, entry.Reasons = ActionJoin, []string{"will do: " + strings.Join(entry.Phases, ", ")}
	if !found.joined(j.Target) {
		entry.Reasons = append(entry.Reasons, changesForRejoin(found.Facts.Plan)...)
	}
	switch {
	case node == nil:
	case j.checkNameFree(node, found.Facts) != nil:
		entry.Action, entry.Reasons = ActionRefuse, []string{j.checkNameFree(node, found.Facts).Error()}
	case found.onlyDiffers(j.Target) && NotReady(node, j.Version) == "":
		entry.Action, entry.Reasons = ActionReconcile, []string{"differs from the documents: " +
			strings.Join(changesWithEffects(entry.Changes), ", ")}
		j.noteMarks(entry, machine, node)
	}
}

// changesForRejoin lists the changes that a join which goes on leaves to the next one after a reset.
func changesForRejoin(plan *spec.Status) []string {
	var left []string
	for _, change := range changesOf(plan) {
		if change.Effect == spec.NeedsRejoin {
			left = append(left, "will not do: "+change.What)
		}
	}
	return left
}

// noteMarks adds the labels and taints that differ to entry, and reports whether any do.
func (j *Joiner) noteMarks(entry *Entry, machine config.Machine, node *corev1.Node) bool {
	_, changes := markPatch(node, machine.Labels, j.Cluster.Taints(machine))
	if len(changes) == 0 {
		return false
	}
	entry.Marks = changes
	will := "will set " + strings.Join(changes, ", ")
	if entry.Action == ActionNothing {
		entry.Reasons = nil
	}
	entry.Reasons = append(entry.Reasons, will)
	entry.Changes = append(entry.Changes, spec.Change{
		What: "node " + node.Name, Diff: markDiff(changes),
		Effect: spec.NoRestart,
	})
	return true
}

// markDiff shows changes of labels and taints as those of files are shown.
func markDiff(changes []string) string {
	var text strings.Builder
	for _, change := range changes {
		if removed, found := strings.CutSuffix(change, " removed"); found {
			text.WriteString("-" + removed + "\n")
		} else {
			text.WriteString("+" + change + "\n")
		}
	}
	return text.String()
}

func describe(facts spec.Facts) string {
	system := fmt.Sprintf("%s · %s · %d CPUs · %d GB", facts.OS, facts.Arch, facts.CPUs,
		(facts.MemoryBytes+500_000_000)/1_000_000_000)
	if facts.SELinux != "" {
		system += " · SELinux " + facts.SELinux
	}
	if facts.AppArmor {
		system += " · AppArmor"
	}
	return system
}

// remarksOf returns the remarks of a plan's preflight.
func remarksOf(plan *spec.Status) []string {
	for _, phase := range plan.Phases {
		if remarks, is := strings.CutPrefix(phase.Detail, spec.CanBecomeNode+" "); is && phase.Name == "preflight" {
			return []string{remarks}
		}
	}
	return nil
}

// Work returns the machines of a plan that a join has something to do for.
func Work(entries []Entry) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool {
		return e.Action != ActionJoin && e.Action != ActionMark && (e.Action != ActionReconcile || len(e.Marks) == 0)
	})
}

// AsWanted returns the machines of a plan for which nothing is to do.
func AsWanted(entries []Entry) []Entry { return withAction(entries, ActionNothing) }

// Differing returns the machines of a plan that are nodes, and not as the documents want them.
func Differing(entries []Entry) []Entry { return withAction(entries, ActionReconcile, ActionMark) }

func withAction(entries []Entry, actions ...Action) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return !slices.Contains(actions, e.Action) })
}

// AtOtherVersion returns the machines of a plan that an upgrade is for.
func AtOtherVersion(entries []Entry) []Entry { return withAction(entries, ActionUpgrade) }

// Refused returns the machines of a plan that can't be joined as they are.
func Refused(entries []Entry) []Entry { return withAction(entries, ActionRefuse) }

// Table prints a plan for people, a machine a line, further reasons beneath.
func Table(entries []Entry) string {
	table := operation.NewTable("MACHINE", "ADDRESS", "ACTION", "WHY")
	for _, entry := range entries {
		said := slices.Clone(entry.Reasons)
		for _, override := range entry.Overrides {
			said = append(said, "has of its own "+override)
		}
		said = append(said, entry.Remarks...)
		table.Add(said, entry.Machine, entry.Address, string(entry.Action))
	}
	return table.String()
}
