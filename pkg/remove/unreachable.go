package remove

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// unreachablePhases are those of a removal that contacts no machine.
var unreachablePhases = operation.Phases{phaseCordon, operation.MachinePhases, phaseNode}

const phaseNode = "node"

// tracesStay tells the user which traces remain on a machine that was not contacted.
const tracesStay = "was not contacted: its credentials, containers, images and volumes stay on it, and if it " +
	"starts again, it registers again; reset it before it serves anything else (workflow reset, or argosy reset)"

// removeUnreachable removes the node of a machine that is not contacted. The cluster then collects its pods, and their
// controllers make them anew elsewhere.
func (r *Remover) removeUnreachable(ctx context.Context, machine config.Machine, options Options,
	limiter *operation.Limiter,
	progress operation.Progress,
) (Outcome, error) {
	started := time.Now()
	outcome := Outcome{Unreachable: true, Outcome: reset.Outcome{Machine: machine.Name, Node: machine.NodeName}}
	leave, err := limiter.EnterReporting(ctx, progress)
	if err != nil {
		return outcome, err
	}
	defer leave()
	budget := r.Cluster.Fleet.Limits.RetryBudget.Duration
	err = operation.Retrying(ctx, budget, progress, func(ctx context.Context) error {
		return r.deleteUnreachable(ctx, machine, options, &outcome, progress)
	})
	outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return outcome, fmt.Errorf("removing unreachable machine %q: %w", machine.Name, err)
	}
	return outcome, nil
}

func (r *Remover) deleteUnreachable(ctx context.Context, machine config.Machine, options Options, outcome *Outcome,
	progress operation.Progress,
) error {
	target, err := r.Target(ctx)
	if err != nil {
		return err
	}
	node, err := target.Client.CoreV1().Nodes().Get(ctx, machine.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading node %q: %w", machine.NodeName, apply.Classify(err))
	}
	if problem := r.alive(machine, node); problem != "" {
		return errclass.Errorf(errclass.Permanent, "%s", problem)
	}
	operation.Reportf(unreachablePhases.In(phaseCordon, 0, progress), "cordoning node %s", node.Name)
	if _, err := (drain.Drainer{Client: target.Client, Policy: options.Policy}).Cordon(ctx, node.Name,
		cordonOwner); err != nil {
		return err
	}
	operation.Reportf(unreachablePhases.In(phaseNode, 0, progress), "deleting node %s", node.Name)
	if err := reset.DeleteNode(ctx, target.Client, node); err != nil {
		return err
	}
	outcome.Changed = true
	outcome.Done = append(outcome.Done, "node "+node.Name+" deleted")
	return nil
}

// alive returns why a node may not be removed without asking its machine; "" when it may:
//
//	its kubelet reports, Ready or not              no: it is alive, and would register again
//	its address is another machine's of the fleet  no: it is that machine's node
//	otherwise                                      yes, by its name
//
// The control plane itself sets Ready to Unknown, 40 s after the last report by default.
func (r *Remover) alive(machine config.Machine, node *corev1.Node) string {
	if status := join.ReadyCondition(node).Status; status == corev1.ConditionTrue || status == corev1.ConditionFalse {
		return fmt.Sprintf("the kubelet of node %s reports to the cluster (Ready is %s), so the machine is alive: "+
			"remove it without unreachable, or turn it off and wait until the node is NotReady with status Unknown",
			node.Name, status)
	}
	for _, other := range r.Cluster.Fleet.Machines {
		if other.Name != machine.Name && hasAddress(node, other.Address) && !hasAddress(node, machine.Address) {
			return fmt.Sprintf("node %s has the address of machine %s, %s, and is that machine's", node.Name,
				other.Name, other.Address)
		}
	}
	return ""
}

func hasAddress(node *corev1.Node, address string) bool {
	wanted, err := netip.ParseAddr(address)
	return slices.ContainsFunc(node.Status.Addresses, func(have corev1.NodeAddress) bool {
		if err != nil {
			return have.Address == address
		}
		parsed, failure := netip.ParseAddr(have.Address)
		return failure == nil && parsed.Unmap() == wanted.Unmap()
	})
}
