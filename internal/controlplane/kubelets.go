package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/certificates"
	"argosy.dev/argosy/pkg/join"
)

// kubeletAuthority is the API server's flag by which it verifies kubelets.
const kubeletAuthority = "--kubelet-certificate-authority="

// nodesTimeout bounds the look at the nodes before the pods are set. A control plane that does not answer is there to
// be brought up, so that its silence is no error.
const nodesTimeout = 10 * time.Second

// kubeletArgs returns the API server's arguments by which it verifies kubelets, in a run that decided for it.
func (p *Provisioner) kubeletArgs() []string {
	if !p.verifyKubelets {
		return nil
	}
	return []string{kubeletAuthority + cert(certificates.ClusterCA)}
}

// decideKubelets decides whether the API servers verify kubelets, so that logs and exec go on meanwhile:
//
//	serverTLSBootstrap    control plane       nodes                          verified
//	not true              any                 any                            no
//	true                  does not exist      none, in a restore unknown     yes, in a restore no
//	true                  verifies already    any                            yes
//	true                  does not verify     all have a certificate         yes
//	true                  does not verify     one has none, or unknown       no; a later provision looks again
func (p *Provisioner) decideKubelets(ctx context.Context) (bool, error) {
	if !p.KubeletsRequestCertificates() {
		return false, nil
	}
	set, err := p.ownSet(ctx)
	switch {
	case err != nil:
		return false, err
	case set == nil:
		return !p.restores, nil
	}
	return verifiesKubelets(set) || p.allNodesServe(ctx), nil
}

// kubeletsVerified reports whether the API servers verify kubelets as they were provisioned.
func (p *Provisioner) kubeletsVerified(ctx context.Context) (bool, error) {
	set, err := p.ownSet(ctx)
	return set != nil && verifiesKubelets(set), err
}

// ownSet returns the control plane's StatefulSet; nil when there is none.
func (p *Provisioner) ownSet(ctx context.Context) (*appsv1.StatefulSet, error) {
	set, err := p.Host.AppsV1().StatefulSets(p.Namespace).Get(ctx, p.Names().ControlPlane(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading StatefulSet %q: %w", p.Names().ControlPlane(), apply.Classify(err))
	}
	return set, nil
}

func verifiesKubelets(set *appsv1.StatefulSet) bool {
	named := func(arg string) bool { return strings.HasPrefix(arg, kubeletAuthority) }
	return slices.ContainsFunc(set.Spec.Template.Spec.Containers, func(container corev1.Container) bool {
		return slices.ContainsFunc(container.Args, named)
	})
}

// allNodesServe reports whether every node's kubelet has a certificate of the cluster's.
func (p *Provisioner) allNodesServe(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	restConfig, err := p.RESTConfig(ctx)
	if err != nil {
		return false
	}
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return false
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	return err == nil && !slices.ContainsFunc(nodes.Items, func(node corev1.Node) bool {
		return !join.HasServingCertificate(&node, p.Now())
	})
}
