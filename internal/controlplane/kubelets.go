package controlplane

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
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

// nodesTimeout bounds the questions to API server and kubelets before the pods are set. A control plane that does not
// answer is there to be brought up, so that its silence is no error.
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
//	kubelets' certificates    control plane       nodes                          verified
//	their own                 any                 any                            no
//	the cluster's             does not exist      none, in a restore unknown     yes, in a restore no
//	the cluster's             verifies already    any                            yes
//	the cluster's             does not verify     all serve with one             yes
//	the cluster's             does not verify     one does not, or unknown       no; a later provision looks again
//
// Where they will be verified and are not yet, it notes the reason in p.unverified.
func (p *Provisioner) decideKubelets(ctx context.Context) error {
	p.verifyKubelets, p.unverified = false, ""
	if !p.KubeletsRequestCertificates() {
		return nil
	}
	set, err := p.ownSet(ctx)
	switch {
	case err != nil:
		return err
	case set == nil && p.restores:
		p.unverified = "the nodes are those of the archive"
	case set != nil && !verifiesKubelets(set):
		p.unverified = p.notServing(ctx)
	}
	p.verifyKubelets = p.unverified == ""
	return nil
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

// notServing returns the reason why not every node's kubelet serves with a certificate of the cluster's; "" when all
// do. Nodes that are not Ready count by what was noted at them: their kubelets do not answer in any case.
func (p *Provisioner) notServing(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, nodesTimeout)
	defer cancel()
	const silent = "the API server does not answer"
	restConfig, err := p.RESTConfig(ctx)
	if err != nil {
		return silent
	}
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return silent
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return silent
	}
	for _, node := range nodes.Items {
		if !join.HasServingCertificate(&node, p.Now()) {
			return fmt.Sprintf("node %s has no serving certificate of the cluster's", node.Name)
		}
	}
	return selfSigning(ctx, client, nodes.Items)
}

// configzLimit is how many kubelets are asked for their configuration at a time.
const configzLimit = 16

// selfSigning asks the kubelets of Ready nodes for their configuration, and returns the reason why one of them does not
// request its serving certificate: one that was rolled back, or whose setting was off in between, has a certificate
// noted and serves with another.
func selfSigning(ctx context.Context, client kubernetes.Interface, nodes []corev1.Node) string {
	reasons := make([]string, len(nodes))
	var group errgroup.Group
	group.SetLimit(configzLimit)
	for i := range nodes {
		if join.ReadyCondition(&nodes[i]).Status != corev1.ConditionTrue {
			continue
		}
		group.Go(func() error {
			requests, err := requestsCertificate(ctx, client, nodes[i].Name)
			switch {
			case err != nil:
				reasons[i] = fmt.Sprintf("the kubelet of node %s does not tell its configuration", nodes[i].Name)
			case !requests:
				reasons[i] = fmt.Sprintf("the kubelet of node %s signs its serving certificate itself", nodes[i].Name)
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return no error
	return cmp.Or(reasons...)
}

// requestsCertificate reports whether the kubelet that runs on a node requests its serving certificate.
func requestsCertificate(ctx context.Context, client kubernetes.Interface, node string) (bool, error) {
	text, err := client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").
		Suffix("configz").DoRaw(ctx)
	if err != nil {
		return false, fmt.Errorf("reading the configuration of the kubelet of node %q: %w", node, err)
	}
	var running struct {
		KubeletConfig struct {
			ServerTLSBootstrap bool   `json:"serverTLSBootstrap"`
			TLSCertFile        string `json:"tlsCertFile"`
		} `json:"kubeletconfig"`
	}
	if err := json.Unmarshal(text, &running); err != nil {
		return false, fmt.Errorf("decoding the configuration of the kubelet of node %q: %w", node, err)
	}
	return running.KubeletConfig.ServerTLSBootstrap && running.KubeletConfig.TLSCertFile == "", nil
}
