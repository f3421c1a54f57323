package join

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkNameFree returns an error if a join would take the place of another machine's node:
//
//	machine has the node's credentials | node's machine-id, address | node  | error
//	yes                                | any                        | any   | none
//	no                                 | other than the machine's   | any   | configuration
//	no                                 | the machine's              | Ready | transient: it is Ready a while longer
//	no                                 | the machine's              | else  | none
//	no                                 | not to be compared         | Ready | configuration
//	no                                 | not to be compared         | else  | none
//
// A machine-id alone does not tell machines apart that were cloned, and an address alone not those of two networks.
func (j *Joiner) checkNameFree(node *corev1.Node, facts spec.Facts) error {
	if node == nil || facts.Kubelet.NodeName == node.Name {
		return nil
	}
	ready := ReadyCondition(node).Status == corev1.ConditionTrue
	differences, compared := identityOf(node).DifferencesFrom(spec.MachineIdentity{
		ID: facts.MachineID, Addresses: facts.Addresses,
	})
	switch {
	case len(differences) > 0 && ready, !compared && ready:
		return errclass.Errorf(errclass.Configuration, "node name %q is taken: cluster %s has a Ready node "+
			"of that name, and it is not this machine%s; set nodeName in argosy.yaml",
			node.Name, j.Cluster.Name, inParentheses(differences))
	case len(differences) > 0:
		return errclass.Errorf(errclass.Configuration, "node name %q is taken: cluster %s has a node of that "+
			"name, and it is not this machine%s; set nodeName in argosy.yaml, or if that machine is gone, or this one "+
			"was installed anew, delete its node first (kubectl delete node %s)",
			node.Name, j.Cluster.Name, inParentheses(differences), node.Name)
	case ready:
		return errclass.Errorf(errclass.Transient, "node name %q is taken: cluster %s has a Ready node of "+
			"that name, of which this machine has no credentials; if the machine was installed anew, delete its node "+
			"first (kubectl delete node %s)", node.Name, j.Cluster.Name, node.Name)
	}
	return nil
}

func inParentheses(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return " (" + strings.Join(reasons, ", ") + ")"
}

// identityOf returns the identity of a node's machine.
func identityOf(node *corev1.Node) spec.MachineIdentity {
	identity := spec.MachineIdentity{ID: node.Status.NodeInfo.MachineID}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP || address.Type == corev1.NodeExternalIP {
			identity.Addresses = append(identity.Addresses, address.Address)
		}
	}
	return identity
}

// checkNameFreeNow does so with the node as it is now. A token is made only after it: with one, a machine could get
// the credentials of any node.
func (j *Joiner) checkNameFreeNow(ctx context.Context, found Inspection) error {
	name := found.machine.NodeName
	node, err := j.Target.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading node %q: %w", name, apply.Classify(err))
	}
	return j.checkNameFree(node, found.Facts)
}
