package controlplane

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

// upgradedAnnotation, on the control plane's StatefulSet, is the version of the last upgrade, as long as that is later
// than the one of vcluster.yaml.
const upgradedAnnotation = "argosy.dev/upgraded-to"

// To returns the provisioner for another version than that of the documents. "" is no other.
func (p *Provisioner) To(wanted string) (*Provisioner, error) {
	if wanted == "" || wanted == p.KubernetesVersion() {
		return p, nil
	}
	cluster, err := p.AtVersion(wanted)
	if err != nil {
		return nil, err
	}
	other := *p
	other.Cluster.Cluster, other.upgraded = cluster, wanted
	return &other, nil
}

// Follow returns the provisioner for the version of the last upgrade, where the documents still have an earlier one: a
// control plane never goes back by itself.
func (p *Provisioner) Follow(ctx context.Context) (*Provisioner, error) {
	upgraded, err := upgradedTo(ctx, p.Cluster)
	if err != nil || upgraded == "" {
		return p, err
	}
	documented, err := version.ParseSemantic(p.KubernetesVersion())
	if err != nil {
		return p, nil
	}
	if now, err := version.ParseSemantic(upgraded); err != nil || !documented.LessThan(now) {
		return p, nil
	}
	return p.To(upgraded)
}

// upgradedTo returns the version of the last upgrade; "" without one.
func upgradedTo(ctx context.Context, cluster hosted.Cluster) (string, error) {
	name := cluster.Names().ControlPlane()
	set, err := cluster.Host.AppsV1().StatefulSets(cluster.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return "", nil // Validate lists every missing permission
	}
	if err != nil {
		return "", fmt.Errorf("reading StatefulSet %q: %w", name, apply.Classify(err))
	}
	return set.Annotations[upgradedAnnotation], nil
}
