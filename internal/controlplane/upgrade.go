package controlplane

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
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
// control plane never goes back by itself. Where they name none, it is the version that the control plane has: another
// release of Argosy, whose default is another one, does not move it.
func (p *Provisioner) Follow(ctx context.Context) (*Provisioner, error) {
	p, err := p.atOwnVersion(ctx)
	if err != nil {
		return p, err
	}
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

// atOwnVersion returns the provisioner for the version of the control plane where the documents name none: that of its
// StatefulSet, or else the one that was chosen when it got its keys.
func (p *Provisioner) atOwnVersion(ctx context.Context) (*Provisioner, error) {
	if p.NamesVersion() {
		return p, nil
	}
	own, err := p.ownVersion(ctx)
	if err != nil || own == "" {
		return p, err
	}
	return p.atVersion(own)
}

// atVersion returns the provisioner with another version in its documents.
func (p *Provisioner) atVersion(wanted string) (*Provisioner, error) {
	cluster, err := p.AtVersion(wanted)
	if err != nil {
		return p, err
	}
	other := *p
	other.Cluster.Cluster = cluster
	return &other, nil
}

// ownVersion returns the version of a control plane that exists; "" without one, or where it may not be read, which
// Validate lists.
func (p *Provisioner) ownVersion(ctx context.Context) (string, error) {
	name := p.Names().ControlPlane()
	set, err := p.Host.AppsV1().StatefulSets(p.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		if runs := versionOf(set.Spec.Template.Spec); runs != nil {
			return "v" + runs.String(), nil
		}
	case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
		return "", fmt.Errorf("reading StatefulSet %q: %w", name, apply.Classify(err))
	}
	keys, err := p.Host.CoreV1().Secrets(p.Namespace).Get(ctx, p.Names().PKI(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading Secret %q: %w", p.Names().PKI(), apply.Classify(err))
	}
	var created config.Identity
	if json.Unmarshal([]byte(keys.Annotations[hosted.IdentityAnnotation]), &created) != nil {
		return "", nil // loadKeys tells of it
	}
	return created.KubernetesVersion, nil
}

// upgradedTo returns the version of the last upgrade; without a StatefulSet that of the archive from which a restore
// that was interrupted filled the store. "" is neither.
func upgradedTo(ctx context.Context, cluster hosted.Cluster) (string, error) {
	name := cluster.Names().ControlPlane()
	set, err := cluster.Host.AppsV1().StatefulSets(cluster.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return restoredAt(ctx, cluster)
	}
	if apierrors.IsForbidden(err) {
		return "", nil // Validate lists every missing permission
	}
	if err != nil {
		return "", fmt.Errorf("reading StatefulSet %q: %w", name, apply.Classify(err))
	}
	return set.Annotations[upgradedAnnotation], nil
}

// restoredAt returns the version that the archive of an interrupted restore has; "" without such a restore.
func restoredAt(ctx context.Context, cluster hosted.Cluster) (string, error) {
	keys, err := cluster.Host.CoreV1().Secrets(cluster.Namespace).Get(ctx, cluster.Names().PKI(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading Secret %q: %w", cluster.Names().PKI(), apply.Classify(err))
	}
	if begun := RestorationOf(keys); begun != nil {
		return begun.Kubernetes, nil
	}
	return "", nil
}
