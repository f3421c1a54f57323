package reset

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/operation"
)

// Vacate empties a machine's node before anything is taken away from the machine.
type Vacate struct {
	// Phases are the names of what Run reports, in order. They are counted before the machine's own.
	Phases []string
	// Run does it and says in words what was done. It is called inside the window, again after a transient error, and
	// only for a machine that has a node, is to be reset, and is not at it already.
	Run func(ctx context.Context, from Leaving, report func(phase, text string)) (done []string, err error)
}

// Leaving is what a machine is before it is reset.
type Leaving struct {
	Client kubernetes.Interface
	// Node is the machine's, as it was read just now.
	Node *corev1.Node
	// Alive says that its kubelet runs.
	Alive bool
}

func (v *Vacate) phases() int {
	if v == nil {
		return 0
	}
	return len(v.Phases)
}

// doing is what errors call the work.
func (o Options) doing() string {
	if o.Vacate == nil {
		return "resetting"
	}
	return "removing"
}

// vacate empties the machine's node where there is one that still serves.
func vacate(ctx context.Context, seen sight, with *Vacate, outcome *Outcome, report func(string)) error {
	if with == nil || seen.target == nil || seen.running() || !operation.Wants(seen.facts.Plan) {
		return nil
	}
	node, mine, err := seen.find(ctx, outcome.Node)
	if err != nil || !mine {
		return err
	}
	total := seen.before + seen.facts.Plan.Total + clusterPhases
	from := Leaving{Client: seen.target.Client, Node: node, Alive: seen.facts.Kubelet.Active}
	done, err := with.Run(ctx, from, func(phase, text string) {
		report(fmt.Sprintf("[%d/%d %s] %s", slices.Index(with.Phases, phase)+1, total, phase, text))
	})
	outcome.Changed = outcome.Changed || len(done) > 0
	outcome.Done = append(outcome.Done, done...)
	return err
}
