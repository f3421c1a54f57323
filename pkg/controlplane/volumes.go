package controlplane

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// persists says whether the control plane's own state is on a volume that outlives its pods. Only SQLite is state of
// the pods; with any other store they hold none.
func (p *Provisioner) persists() bool {
	return p.Cluster.Store().Kind == config.StoreSQLite &&
		p.Cluster.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim.On()
}

// sharesState says whether two pods of the control plane have the same state. With SQLite in the pod alone each would
// have a database of its own, and clients would be led now to the one and now to the other.
func (p *Provisioner) sharesState() bool {
	return p.persists() || p.Cluster.Store().Kind != config.StoreSQLite
}

// dataClaim is the volume of the embedded database. It is a claim of its own rather than the StatefulSet's: the pod
// that takes over while another is replaced uses the same.
func (p *Provisioner) dataClaim() (*corev1.PersistentVolumeClaim, error) {
	return p.claim(p.names().data(), p.Cluster.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim)
}

// claim is what a document says about a volume; nil when it wants none.
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
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.namespace(),
			Labels: p.names().labels(componentControlPlane)},
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

// ownDataSource is the Secret with the external database's data source, where the document itself gives it.
func (p *Provisioner) ownDataSource() *corev1.Secret {
	external := p.Cluster.VCluster.ControlPlane.BackingStore.Database.External
	if p.Cluster.Store().Kind != config.StoreExternal || external.Connector != "" {
		return nil
	}
	return p.secret(p.names().dataSource(), map[string][]byte{dataSourceKey: []byte(external.DataSource.Reveal())})
}
