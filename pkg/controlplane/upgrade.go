package controlplane

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
)

// upgradedAnnotation, on the control plane's StatefulSet, is the version that an upgrade was told to bring it to, as
// long as that is later than what vcluster.yaml says.
const upgradedAnnotation = "argosy.dev/upgraded-to"

// To is the same provisioner for another version than the documents have. "" is no other.
func (p *Provisioner) To(wanted string) (*Provisioner, error) {
	if wanted == "" || wanted == p.Cluster.KubernetesVersion() {
		return p, nil
	}
	cluster, err := p.Cluster.AtVersion(wanted)
	if err != nil {
		return nil, err
	}
	other := *p
	other.Cluster, other.upgraded = cluster, wanted
	return &other, nil
}

// Follow is the provisioner for the version that an upgrade brought the control plane to, where the documents have not
// caught up with it: nothing goes back by itself.
func (p *Provisioner) Follow(ctx context.Context) (*Provisioner, error) {
	upgraded, err := upgradedTo(ctx, p.Host, p.Cluster)
	if err != nil || upgraded == "" {
		return p, err
	}
	said, err := version.ParseSemantic(p.Cluster.KubernetesVersion())
	if err != nil {
		return p, nil
	}
	if now, err := version.ParseSemantic(upgraded); err != nil || !said.LessThan(now) {
		return p, nil
	}
	return p.To(upgraded)
}

// upgradedTo is what an upgrade left word of; "" without one.
func upgradedTo(ctx context.Context, host kubernetes.Interface, cluster *config.Cluster) (string, error) {
	name := names(cluster.Name).controlPlane()
	set, err := host.AppsV1().StatefulSets(cluster.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return "", nil // Validate names every permission that is missing
	}
	if err != nil {
		return "", fmt.Errorf("reading StatefulSet %q: %w", name, apply.Classify(err))
	}
	return set.Annotations[upgradedAnnotation], nil
}
