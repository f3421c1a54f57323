package reset

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/operation"
)

// Drain drains a machine's node before anything is taken away from the machine.
type Drain struct {
	// Phases are the names of the phases that Run reports, in order. They are counted before the machine's own.
	Phases []string
	// Run does it and returns the changes in words. It is called inside the limiter, again after a transient error,
	// and only for a machine that has a node, is to be reset, and is not at it already. in returns the Progress of one
	// of Phases.
	Run func(ctx context.Context, target DrainTarget, in func(phase string) operation.Progress) (done []string,
		err error)
}

// DrainTarget is a machine whose node is drained before its reset.
type DrainTarget struct {
	Client kubernetes.Interface
	// Node is the machine's, as it was read just now.
	Node *corev1.Node
	// Alive is set when its kubelet runs.
	Alive bool
}

// phaseNode deletes the machine's node.
const phaseNode = "node"

// phases returns the phases of a reset, in the order in which they run. Where the cluster is gone, so is the node.
func (o Options) phases() operation.Phases {
	var phases operation.Phases
	if o.Drain != nil {
		phases = append(phases, o.Drain.Phases...)
	}
	phases = append(phases, operation.MachinePhases)
	if !o.ClusterGone {
		phases = append(phases, phaseNode)
	}
	return phases
}

// verb begins the errors.
func (o Options) verb() string {
	if o.Drain == nil {
		return "resetting"
	}
	return "removing"
}

// drain drains the machine's node where there is one that still serves. It first keeps the facts that only a machine
// that is not reset yet can tell.
func (r *run) drain(ctx context.Context, found inspection) error {
	if found.Facts.Record != nil {
		r.outcome.Node = found.nodeName()
	}
	r.outcome.Phases = found.Facts.Plan.Phases
	with := r.options.Drain
	if with == nil || found.target == nil || found.Running() || !operation.Wants(found.Facts.Plan) {
		return nil
	}
	node, mine, err := found.find(ctx, r.outcome.Node)
	if err != nil || !mine {
		return err
	}
	target := DrainTarget{Client: found.target.Client, Node: node, Alive: found.Facts.Kubelet.Active}
	done, err := with.Run(ctx, target, func(phase string) operation.Progress {
		return found.phases.In(phase, found.Facts.Plan.Total, r.progress)
	})
	r.outcome.Changed = r.outcome.Changed || len(done) > 0
	r.outcome.Done = append(r.outcome.Done, done...)
	return err
}
