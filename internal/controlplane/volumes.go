package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// sharesState reports whether two pods of the control plane have the same state. With SQLite in the pod alone each
// would have a database of its own, and clients would reach one or the other at random.
func (p *Provisioner) sharesState() bool {
	return p.Persists() || p.Store().Kind != config.StoreSQLite
}

// dataClaim returns the volume of the embedded database. It is a claim of its own rather than the StatefulSet's, since
// the pod that takes over while another is replaced uses the same. One that exists keeps its class where the documents
// no longer name one: a claim without its class is one of another class, which is refused.
func (p *Provisioner) dataClaim(ctx context.Context) (*corev1.PersistentVolumeClaim, error) {
	wanted := p.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim
	held, err := p.Host.CoreV1().PersistentVolumeClaims(p.Namespace).Get(ctx, p.Names().Data(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading PersistentVolumeClaim %q: %w", p.Names().Data(), apply.Classify(err))
	}
	if err == nil && wanted.StorageClass == "" && held.Spec.StorageClassName != nil && setClass(held) {
		wanted.StorageClass = *held.Spec.StorageClassName
	}
	return p.claim(p.Names().Data(), wanted)
}

// setClass reports whether Argosy gave a claim its class, rather than the host cluster its default.
func setClass(claim *corev1.PersistentVolumeClaim) bool {
	return slices.ContainsFunc(claim.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == apply.Manager && entry.FieldsV1 != nil &&
			strings.Contains(string(entry.FieldsV1.Raw), `"f:storageClassName"`)
	})
}

// claim returns the PersistentVolumeClaim of a volume in the documents; nil when it is off.
func (p *Provisioner) claim(name string, wanted config.VolumeClaim) (*corev1.PersistentVolumeClaim, error) {
	if !wanted.On() {
		return nil, nil
	}
	size, err := resource.ParseQuantity(wanted.Size)
	if err != nil {
		return nil, errclass.Errorf(errclass.Configuration, "reading the size %q of volume %q: %w", wanted.Size, name,
			err)
	}
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: p.Namespace,
			Labels: p.Names().Labels(hosted.ControlPlane),
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
		},
	}
	for _, mode := range wanted.AccessModes {
		claim.Spec.AccessModes = append(claim.Spec.AccessModes, corev1.PersistentVolumeAccessMode(mode))
	}
	if wanted.StorageClass != "" {
		claim.Spec.StorageClassName = &wanted.StorageClass
	}
	return claim, nil
}

// ownDataSource returns the Secret with the external database's data source, where the document itself gives it; else
// nil.
func (p *Provisioner) ownDataSource() *corev1.Secret {
	external := p.VCluster.ControlPlane.BackingStore.Database.External
	if p.Store().Kind != config.StoreExternal || external.Connector != "" {
		return nil
	}
	return p.Secret(p.Names().DataSource(), map[string][]byte{dataSourceKey: []byte(external.DataSource.Reveal())})
}
