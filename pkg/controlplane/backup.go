package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/store"
)

// Defaults of backups.
const (
	// DefaultKeep is how many archives of a cluster stay.
	DefaultKeep = 7
	// DefaultBackupSize is what the volume with archives asks for. A cluster of a thousand pods makes archives of some
	// 10 MB.
	DefaultBackupSize = "5Gi"
)

// BackupOptions say what becomes of older archives and where archives are.
type BackupOptions struct {
	// Keep is how many archives stay; 0 for all.
	Keep int
	// Size of the volume, where it is to be made; "" for DefaultBackupSize.
	Size string
	// final marks a cluster's last archive, which later backups do not count.
	final bool
}

// Backup is an archive that was made.
type Backup struct {
	store.Result
	// Volume is the PersistentVolumeClaim that holds it.
	Volume string `json:"volume"`
}

// String is one line for people.
func (b Backup) String() string {
	text := fmt.Sprintf("archive %s in volume %s: %d keys, %s, revision %d, after %.1f s", b.Archive, b.Volume, b.Keys,
		size(b.Bytes), b.Revision, b.Seconds)
	if b.Gone > 0 {
		text += fmt.Sprintf("; %d older removed", b.Gone)
	}
	return text
}

// size is a number of bytes for people.
func size(bytes int64) string {
	if bytes < 1e6 {
		return fmt.Sprintf("%.0f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

// Backup writes the cluster's state, keys and documents to an archive in volume <cluster>-backups, while the cluster
// runs. The volume is made when there is none.
func (p *Provisioner) Backup(ctx context.Context, o BackupOptions, report func(string)) (Backup, error) {
	made := Backup{Volume: p.names().backups()}
	err := p.backup(ctx, o, &made.Result, report)
	if err != nil {
		return made, fmt.Errorf("backing up cluster %q: %w", p.Cluster.Name, err)
	}
	if p.Log != nil {
		p.Log.Info("cluster backed up", "archive", made.Archive, "keys", made.Keys, "bytes", made.Bytes, "seconds",
			made.Seconds)
	}
	return made, nil
}

func (p *Provisioner) backup(ctx context.Context, o BackupOptions, result *store.Result, report func(string)) error {
	if err := p.checkHosted(); err != nil {
		return err
	}
	if err := p.checkReachable(); err != nil {
		return err
	}
	about, err := p.about(ctx)
	if err != nil {
		return err
	}
	if err := p.ensureBackups(ctx, o.Size); err != nil {
		return err
	}
	report("starting a pod beside the control plane")
	_, err = p.runTask(ctx, p.dumpTask(o, about), result, report)
	return err
}

// checkHosted refuses a cluster that somebody else runs.
func (p *Provisioner) checkHosted() error {
	if p.Cluster.Hosted() {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "argosy.yaml gives cluster.kubeconfigSecret %q: cluster %q is not "+
		"one that Argosy provisioned, and its control plane is kept by whoever runs it",
		p.Cluster.Fleet.Cluster.KubeconfigSecret, p.Cluster.Name)
}

// checkReachable refuses a store that no other pod can come to.
func (p *Provisioner) checkReachable() error {
	if p.Cluster.Store().Kind != config.StoreSQLite || p.persists() {
		return nil
	}
	return errclass.With(errclass.Configuration, errors.New("the state is in the control plane's pod alone, since "+
		"controlPlane.statefulSet.persistence.volumeClaim is off: no other pod can read or write it, and it ends "+
		"with that pod"))
}

// about is what the archive's manifest says of the cluster as it was provisioned.
func (p *Provisioner) about(ctx context.Context) (store.About, error) {
	endpoint, _, err := p.standing(ctx)
	if err != nil {
		return store.About{}, err
	}
	held, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, p.names().pki(), metav1.GetOptions{})
	if err != nil {
		return store.About{}, fmt.Errorf("reading Secret %q: %w", p.names().pki(), apply.Classify(err))
	}
	var was config.Identity
	if err := json.Unmarshal([]byte(held.Annotations[identityAnnotation]), &was); err != nil {
		return store.About{}, errclass.Errorf(errclass.Permanent, "reading annotation %s of Secret %q: %w",
			identityAnnotation, held.Name, err)
	}
	// Documents that are ahead of the cluster would lead to a store that is not there.
	if err := p.Cluster.CheckImmutable(was); err != nil {
		return store.About{}, err
	}
	return store.About{
		Cluster: p.Cluster.Name, Namespace: p.namespace(), Kubernetes: p.Cluster.KubernetesVersion(),
		Store:    string(p.Cluster.Store().Kind),
		Endpoint: endpoint.Address(), Identity: json.RawMessage(held.Annotations[identityAnnotation]),
	}, nil
}

// ensureBackups makes the volume for archives. One that is there is used as it is, so that a site can bring its own, of
// whatever class and size.
func (p *Provisioner) ensureBackups(ctx context.Context, wanted string) error {
	claims := p.Host.CoreV1().PersistentVolumeClaims(p.namespace())
	name := p.names().backups()
	_, err := claims.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading PersistentVolumeClaim %q: %w", name, apply.Classify(err))
	}
	if wanted == "" {
		wanted = DefaultBackupSize
	}
	quantity, err := resource.ParseQuantity(wanted)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading the size %q of the volume for backups: %w", wanted, err)
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.namespace(), Labels: p.names().labels(componentBackup)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantity}},
		},
	}
	if class := p.stateClaim().StorageClass; class != "" {
		claim.Spec.StorageClassName = &class
	}
	if _, err := claims.Create(ctx, claim, metav1.CreateOptions{FieldManager: apply.Manager}); err != nil &&
		!apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating PersistentVolumeClaim %q: %w", name, apply.Classify(err))
	}
	return nil
}

// stateClaim is what the document says of the volumes of the store in use; an external database has none, and what it
// says of the control plane's own then holds for archives alone.
func (p *Provisioner) stateClaim() config.VolumeClaim {
	if p.Cluster.Store().Kind == config.StoreEtcd {
		return p.Cluster.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Persistence.VolumeClaim
	}
	return p.Cluster.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim
}

// dumpTask writes an archive that has the time in its name.
func (p *Provisioner) dumpTask(o BackupOptions, about store.About) task {
	encoded, err := json.Marshal(about)
	if err != nil {
		panic(err) // it is made of strings and of JSON
	}
	args := append([]string{"store", "dump"}, p.storeFlags()...)
	key := "backup keep=" + strconv.Itoa(o.Keep)
	if o.final {
		key = "final backup"
	}
	return task{
		component: componentBackup, key: key, readsCluster: true, store: true,
		args: append(args, "--pki="+pkiDir, "--documents="+documentsDir, "--about="+string(encoded),
			"--keep="+strconv.Itoa(o.Keep),
			"--output="+path.Join(backupsDir, store.Name(p.Cluster.Name, p.now(), o.final))),
	}
}
