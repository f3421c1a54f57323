package remove

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// Action is the planned effect of a removal on a machine.
type Action string

// The actions.
const (
	// ActionRemove: the machine leaves, or an interrupted removal is finished.
	ActionRemove Action = "remove"
	// ActionNothing: the machine is clean, or is not contacted, and has no node.
	ActionNothing Action = "nothing"
	// ActionRefuse: it can't be removed as it is; Reasons has the causes. Nothing will be touched.
	ActionRefuse Action = "refuse"
)

// Entry is the plan for one machine.
type Entry struct {
	Machine string `json:"machine"`
	Address string `json:"address"`
	// Node in the cluster; empty when the machine has none.
	Node   string `json:"node,omitempty"`
	Action Action `json:"action"`
	// Reasons are sentences: problems of a refusal, or the work to do and the data that is lost.
	Reasons []string `json:"reasons,omitempty"`
	// Warnings are those of Reasons to know before: obstacles, and data that is lost.
	Warnings []string `json:"warnings,omitempty"`
	// Pods are those of the node, with the obstacles to their eviction; nil without a node.
	Pods *drain.Preflight `json:"pods,omitempty"`
}

// planParallel is how many nodes are inspected at once: each costs as many requests as it has pods, and one client
// serves all.
const planParallel = 8

// Plan inspects every machine and the pods of its node, and returns the effect of Remove on each. It changes none of
// them, beyond placing argosy-node there, and evicts nothing. A machine that can't be reached is a refusal, not an
// error of the plan.
func (r *Remover) Plan(ctx context.Context, machines []config.Machine, options Options,
	progress operation.Progress,
) ([]Entry, error) {
	if options.Unreachable {
		return r.planUnreachable(ctx, machines)
	}
	operation.Reportf(progress, "inspecting %s", count.Of(len(machines), "machine"))
	seen, err := r.Resetter.Plan(ctx, machines, reset.Options{RemoveVolumes: options.RemoveVolumes})
	if err != nil {
		return nil, err
	}
	target, err := r.Target(ctx)
	if err != nil {
		return nil, err
	}
	with := drain.Drainer{Client: target.Client, Policy: options.Policy}
	volumes, err := with.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	operation.Reportf(progress, "reading the pods of %s", count.Of(len(machines), "machine"))
	entries := make([]Entry, len(seen))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(planParallel)
	for i, found := range seen {
		group.Go(func() error {
			entries[i] = entryOf(ctx, with, found, volumes, options)
			return context.Cause(ctx)
		})
	}
	return entries, group.Wait()
}

// entryOf adds the node's pods to the entry of a reset.
func entryOf(ctx context.Context, with drain.Drainer, found reset.Entry, volumes []corev1.PersistentVolume,
	options Options,
) Entry {
	entry := Entry{
		Machine: found.Machine, Address: found.Address, Node: found.NodeName, Reasons: found.Reasons,
		Action: ActionRemove,
	}
	switch found.Action {
	case reset.ActionNothing:
		entry.Action = ActionNothing
		return entry
	case reset.ActionRefuse:
		entry.Action = ActionRefuse
		if found.Unreached {
			entry.Reasons = append(entry.Reasons, "if the machine is gone for good, remove it with unreachable=true "+
				"(argosy remove --unreachable)")
		}
		return entry
	}
	if found.Node == nil {
		return entry
	}
	// Where nothing is drained, nothing that is wrong with evictions may be in the way.
	look := with.Inspect
	if options.Drain {
		look = with.Preflight
	}
	pods, err := look(ctx, found.Node, volumes)
	if err != nil {
		entry.Action, entry.Reasons = ActionRefuse, []string{err.Error()}
		return entry
	}
	entry.Pods = &pods
	if len(pods.Refusals) > 0 {
		entry.Action, entry.Reasons = ActionRefuse, pods.Refusals
		return entry
	}
	said := podsOf(pods, options)
	entry.Reasons, entry.Warnings = slices.Concat(said, entry.Reasons), said[1:]
	return entry
}

// podsOf returns sentences on the node's pods and volumes, first the number of pods.
func podsOf(pods drain.Preflight, options Options) []string {
	reasons := pods.Reasons()
	if !options.Drain {
		reasons = []string{fmt.Sprintf("%s of node %s to end with the machine: nothing is drained",
			count.Of(len(pods.Pods), "pod"), pods.Node)}
	}
	if len(pods.Volumes) == 0 {
		return reasons
	}
	data := "whose data stays on the machine"
	if options.RemoveVolumes {
		data = "whose data is removed"
	}
	return append(reasons, fmt.Sprintf("volumes on this machine, %s, and their pods can run nowhere else: %s",
		data, drain.Names(pods.Volumes)))
}

// planUnreachable plans from the nodes alone.
func (r *Remover) planUnreachable(ctx context.Context, machines []config.Machine) ([]Entry, error) {
	target, err := r.Target(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(machines))
	for i, machine := range machines {
		entries[i] = Entry{
			Machine: machine.Name, Address: machine.Address, Action: ActionNothing,
			Reasons: []string{"has no node, and " + tracesStay},
		}
		node, err := target.Client.CoreV1().Nodes().Get(ctx, machine.NodeName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading node %q: %w", machine.NodeName, apply.Classify(err))
		}
		entries[i].Node = node.Name
		if problem := r.alive(machine, node); problem != "" {
			entries[i].Action, entries[i].Reasons = ActionRefuse, []string{problem}
			continue
		}
		entries[i].Action = ActionRemove
		entries[i].Reasons = []string{
			"node " + node.Name + " is deleted, and its pods with it", "the machine " + tracesStay,
		}
	}
	return entries, nil
}

// Work returns the machines of a plan that a removal has something to do for.
func Work(entries []Entry) []Entry { return withAction(entries, ActionRemove) }

// Refused returns the machines of a plan that can't be removed as they are.
func Refused(entries []Entry) []Entry { return withAction(entries, ActionRefuse) }

func withAction(entries []Entry, action Action) []Entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e Entry) bool { return e.Action != action })
}

// Table prints a plan for people, a machine a line, further reasons beneath.
func Table(entries []Entry) string {
	table := operation.NewTable("MACHINE", "ADDRESS", "NODE", "ACTION", "WHAT")
	for _, entry := range entries {
		table.Add(entry.Reasons, entry.Machine, entry.Address, entry.Node, string(entry.Action))
	}
	return table.String()
}
