package reset

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Action is the planned effect of a reset on a machine.
type Action string

// The actions.
const (
	// ActionReset: there is something to take away.
	ActionReset Action = "reset"
	// ActionNothing: the machine is clean.
	ActionNothing Action = "nothing"
	// ActionRefuse: it can't be reset as it is; Reasons has the causes. Nothing will be touched.
	ActionRefuse Action = "refuse"
)

// Entry is the plan for one machine.
type Entry struct {
	Machine string `json:"machine"`
	Address string `json:"address"`
	// NodeName is that of the machine's node in the cluster; empty when it has none.
	NodeName string `json:"node,omitempty"`
	Action   Action `json:"action"`
	// Reasons are problems of a refusal, or the traces to remove.
	Reasons []string `json:"reasons,omitempty"`
	// Node is the machine's in the cluster; nil when it has none.
	Node *corev1.Node `json:"-"`
	// Unreached is set when the machine did not answer, which another attempt may change.
	Unreached bool `json:"-"`
}

// Plan inspects every machine and returns the effect of Reset on each. It changes none of them, beyond placing
// argosy-node there. A machine that can't be reached is a refusal with the reason, not an error of the plan.
func (r *Resetter) Plan(ctx context.Context, machines []config.Machine, options Options) ([]Entry, error) {
	nodes, err := r.nodes(ctx, options)
	if err != nil {
		return nil, err
	}
	return operation.Inspect(ctx, machines, operation.NoProgress{},
		func(ctx context.Context, machine config.Machine) Entry {
			return r.planOne(ctx, machine, nodes, options)
		})
}

// nodes are the cluster's by name, read once for all machines; none of a cluster that is gone.
func (r *Resetter) nodes(ctx context.Context, options Options) (map[string]*corev1.Node, error) {
	if options.ClusterGone {
		return nil, nil
	}
	target, err := r.Target(ctx)
	if err != nil {
		return nil, fmt.Errorf(clusterGoneHint, err)
	}
	return target.Nodes(ctx, r.Cluster.Name)
}

func (r *Resetter) planOne(ctx context.Context, machine config.Machine, nodes map[string]*corev1.Node,
	options Options,
) Entry {
	entry := Entry{Machine: machine.Name, Address: machine.Address, Action: ActionRefuse}
	found, err := r.inspect(ctx, machine, options)
	if err != nil {
		entry.Reasons, entry.Unreached = []string{err.Error()}, errclass.IsTransient(err)
		return entry
	}
	node := nodes[found.nodeName()]
	if node != nil && found.owns(node) {
		entry.Node, entry.NodeName = node, node.Name
	}
	entry.decide(found)
	if node != nil && entry.Node == nil {
		entry.Reasons = append(entry.Reasons, "node "+node.Name+" is another machine's and stays")
	}
	return entry
}

// decide fills in the action:
//
//	the machine                      its node in the cluster    action
//	is at this very reset            any                        reset, to see it through
//	has problems                     any                        refuse
//	has something to take away       any                        reset
//	is clean                         there                      reset: the node is left to delete
//	is clean                         none                       nothing
func (e *Entry) decide(found inspection) {
	plan := found.Facts.Plan
	switch {
	case found.Running():
		e.Action, e.Reasons = ActionReset, []string{"a reset is at work already"}
	case plan.Error != nil:
		e.Action, e.Reasons = ActionRefuse, operation.Problems(plan.Error)
		return
	case operation.Wants(plan):
		e.Action, e.Reasons = ActionReset, traces(plan.Phases)
	case e.Node == nil:
		e.Action, e.Reasons = ActionNothing, []string{proofIn(plan.Phases)}
		return
	default:
		e.Action, e.Reasons = ActionReset, []string{"the machine is clean"}
	}
	if e.Node != nil {
		e.Reasons = append(e.Reasons, "node: "+e.NodeName+" in the cluster")
	}
}

// traces returns the traces that phases would remove, and the description of the machine.
func traces(phases []spec.Phase) []string {
	var reasons []string
	for _, phase := range phases {
		if (phase.Outcome == spec.Wanted && phase.Name != "prove") || phase.Name == "preflight" {
			reasons = append(reasons, phase.Name+": "+phase.Detail)
		}
	}
	return reasons
}

// Table prints a plan for people, a machine a line, further reasons beneath.
func Table(entries []Entry) string {
	table := operation.NewTable("MACHINE", "ADDRESS", "ACTION", "WHAT")
	for _, entry := range entries {
		table.Add(entry.Reasons, entry.Machine, entry.Address, string(entry.Action))
	}
	return table.String()
}
