package reset

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/operation"
)

// removeNode deletes the machine's node. It comes after the machine's own work: a kubelet that runs would register
// again, and a machine that could not be reset is still a node.
func (r *run) removeNode(ctx context.Context, found inspection) error {
	if found.target == nil {
		return nil
	}
	progress := found.phases.In(phaseNode, found.Facts.Plan.Total, r.progress)
	operation.Reportf(progress, "deleting node %s", r.outcome.Node)
	node, mine, err := found.find(ctx, r.outcome.Node)
	if err != nil || node == nil {
		return err
	}
	if !mine {
		r.outcome.Done = append(r.outcome.Done, "node "+node.Name+" is another machine's and stays")
		return nil
	}
	if err := DeleteNode(ctx, found.target.Client, node); err != nil {
		return err
	}
	r.outcome.Changed = true
	r.outcome.Done = append(r.outcome.Done, "node "+node.Name+" deleted")
	return nil
}

// DeleteNode deletes only this very node: another machine may take the name at any time. One that is gone is no error.
func DeleteNode(ctx context.Context, client kubernetes.Interface, node *corev1.Node) error {
	err := client.CoreV1().Nodes().Delete(ctx, node.Name,
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &node.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting node %q: %w", node.Name, apply.Classify(err))
	}
	return nil
}

// find returns the node of a name, nil when there is none, and whether it is the machine's.
func (i inspection) find(ctx context.Context, name string) (node *corev1.Node, mine bool, err error) {
	node, err = i.target.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading node %q: %w", name, apply.Classify(err))
	}
	return node, i.owns(node), nil
}

// owns reports whether node is the machine's:
//
//	the machine's record names it              yes
//	it has an address that the machine has     yes
//	it has no address, since it never ran      yes
//	otherwise                                  no: another machine joined by that name
func (i inspection) owns(node *corev1.Node) bool {
	if i.Facts.Record != nil && i.Facts.Record.NodeName == node.Name {
		return true
	}
	var addresses []string
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP || address.Type == corev1.NodeExternalIP {
			addresses = append(addresses, address.Address)
		}
	}
	return len(addresses) == 0 || slices.ContainsFunc(addresses, func(address string) bool {
		return slices.Contains(i.Facts.Addresses, address)
	})
}
