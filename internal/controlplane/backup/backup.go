// Package backup writes a hosted cluster's state, keys and documents to archives, and makes a control plane anew from
// one. The store is read and written by Jobs beside the control plane, so archives stay in the namespace and the keys
// leave it never.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/encryption"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

const (
	// DefaultKeep is how many archives of a cluster stay.
	DefaultKeep = 7
	// DefaultSize is the size of the volume with archives. A cluster of a thousand pods makes archives of some 10 MB.
	DefaultSize = "5Gi"
)

// Options of a backup.
type Options struct {
	// Keep is how many archives stay; 0 for all.
	Keep int
	// Size of the volume, where it is to be made; "" for DefaultSize.
	Size string
}

// Result describes an archive that was made.
type Result struct {
	store.Result
	// Volume is the PersistentVolumeClaim that holds it.
	Volume string `json:"volume"`
}

// String returns the text for people: one line, and more where the store was mended or has to be.
func (r Result) String() string {
	text := fmt.Sprintf("archive %s in volume %s: %s, %s, revision %d, after %.1f s", r.Archive, r.Volume,
		count.Of(r.Keys, "key"), size(r.Bytes), r.Revision, r.Seconds)
	if r.Gone > 0 {
		text += fmt.Sprintf("; %d older removed", r.Gone)
	}
	if done := r.Maintained.String(); done != "" {
		text += "\n" + done
	}
	if r.Unmaintained != "" {
		text += "\nthe store needs care: " + r.Unmaintained
	}
	return text
}

// size prints a number of bytes for people.
func size(bytes int64) string {
	if bytes < 1e6 {
		return fmt.Sprintf("%.0f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(bytes)/1e6)
}

// Create writes an archive to volume <cluster>-backups, while the cluster runs, and removes older archives beyond
// Options.Keep. The volume is made when there is none.
func Create(ctx context.Context, p *controlplane.Provisioner, o Options, report func(string)) (Result, error) {
	return create(ctx, p, o, false, report)
}

// Final returns a function that writes a cluster's last archive and returns its name. Later backups neither count nor
// remove it.
func Final(p *controlplane.Provisioner) func(context.Context, func(string)) (string, error) {
	return func(ctx context.Context, report func(string)) (string, error) {
		made, err := create(ctx, p, Options{}, true, report)
		return made.Archive, err
	}
}

func create(ctx context.Context, p *controlplane.Provisioner, o Options, final bool,
	report func(string),
) (Result, error) {
	made := Result{Volume: p.Names().Backups()}
	if err := archive(ctx, p, o, final, &made.Result, report); err != nil {
		return made, fmt.Errorf("backing up cluster %q: %w", p.Name, err)
	}
	p.Info("cluster backed up", "archive", made.Archive, "keys", made.Keys, "bytes", made.Bytes, "seconds",
		made.Seconds)
	return made, nil
}

func archive(ctx context.Context, p *controlplane.Provisioner, o Options, final bool, result *store.Result,
	report func(string),
) error {
	if err := p.CheckHosted(); err != nil {
		return err
	}
	if err := checkReachable(p.Cluster); err != nil {
		return err
	}
	about, err := aboutCluster(ctx, p)
	if err != nil {
		return err
	}
	if err := ensureVolume(ctx, p.Cluster, o.Size); err != nil {
		return err
	}
	report("starting a pod beside the control plane")
	_, err = p.RunJob(ctx, dumpJob(p, o, final, about), result, report)
	return err
}

// checkReachable refuses a store that no other pod can reach.
func checkReachable(cluster hosted.Cluster) error {
	if cluster.Store().Kind != config.StoreSQLite || cluster.Persists() {
		return nil
	}
	return errclass.With(errclass.Configuration, errors.New("the state is in the control plane's pod alone, since "+
		"controlPlane.statefulSet.persistence.volumeClaim is off: no other pod can read or write it, and it ends "+
		"with that pod"))
}

// aboutCluster describes the cluster, as it was provisioned, for the archive's manifest.
func aboutCluster(ctx context.Context, p *controlplane.Provisioner) (store.About, error) {
	endpoint, _, err := p.Standing(ctx)
	if err != nil {
		return store.About{}, err
	}
	held, err := p.Host.CoreV1().Secrets(p.Namespace).Get(ctx, p.Names().PKI(), metav1.GetOptions{})
	if err != nil {
		return store.About{}, fmt.Errorf("reading Secret %q: %w", p.Names().PKI(), apply.Classify(err))
	}
	var was config.Identity
	if err := json.Unmarshal([]byte(held.Annotations[hosted.IdentityAnnotation]), &was); err != nil {
		return store.About{}, errclass.Errorf(errclass.Permanent, "reading annotation %s of Secret %q: %w",
			hosted.IdentityAnnotation, held.Name, err)
	}
	if err := checkRecipients(p.Cluster, held); err != nil {
		return store.About{}, err
	}
	// Documents that were changed and not provisioned may name a store that does not exist.
	if err := p.CheckImmutable(was); err != nil {
		return store.About{}, err
	}
	running, err := p.RunningVersion(ctx)
	if err != nil {
		return store.About{}, err
	}
	return store.About{
		Cluster: p.Name, Namespace: p.Namespace, Kubernetes: running,
		Store:    string(p.Store().Kind),
		Endpoint: endpoint.Address(), Identity: json.RawMessage(held.Annotations[hosted.IdentityAnnotation]),
	}, nil
}

// checkRecipients refuses an archive in clear of a store that is encrypted: it would hold the keys beside what they
// encrypt.
func checkRecipients(cluster hosted.Cluster, pki *corev1.Secret) error {
	if len(pki.Data[encryption.File]) == 0 || len(cluster.Fleet.ControlPlane.Archives.Recipients) > 0 {
		return nil
	}
	return errclass.With(errclass.Configuration, errors.New("the store is encrypted, and an archive would hold its "+
		"keys in clear: write the public key of an age identity into controlPlane.archives.recipients of argosy.yaml"))
}

// ensureVolume makes the volume for archives. One that exists is used as it is, so that a site can bring its own, of
// any class and size.
func ensureVolume(ctx context.Context, cluster hosted.Cluster, wanted string) error {
	claims := cluster.Host.CoreV1().PersistentVolumeClaims(cluster.Namespace)
	name := cluster.Names().Backups()
	_, err := claims.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading PersistentVolumeClaim %q: %w", name, apply.Classify(err))
	}
	if wanted == "" {
		wanted = DefaultSize
	}
	quantity, err := resource.ParseQuantity(wanted)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading the size %q of the volume for backups: %w", wanted, err)
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: cluster.Namespace,
			Labels: cluster.Names().Labels(hosted.Backup),
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: quantity},
			},
		},
	}
	if class := stateClaim(cluster).StorageClass; class != "" {
		claim.Spec.StorageClassName = &class
	}
	if _, err := claims.Create(ctx, claim, metav1.CreateOptions{FieldManager: apply.Manager}); err != nil &&
		!apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating PersistentVolumeClaim %q: %w", name, apply.Classify(err))
	}
	return nil
}

// stateClaim returns the document's settings for the volumes of the store in use. An external database has none: the
// settings of the control plane's own volume then hold for archives alone.
func stateClaim(cluster hosted.Cluster) config.VolumeClaim {
	if cluster.Store().Kind == config.StoreEtcd {
		return cluster.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Persistence.VolumeClaim
	}
	return cluster.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim
}

// dumpJob writes an archive that has the time in its name.
func dumpJob(p *controlplane.Provisioner, o Options, final bool, about store.About) controlplane.Job {
	encoded, err := json.Marshal(about)
	if err != nil {
		panic(err) // it is made of strings and of JSON
	}
	args := append([]string{"store", "dump"}, p.StoreFlags()...)
	key := "backup keep=" + strconv.Itoa(o.Keep)
	if final {
		key = "final backup"
	}
	output := path.Join(controlplane.BackupsDir, store.Name(p.Name, p.Now(), final))
	recipients := p.Fleet.ControlPlane.Archives.Recipients
	if len(recipients) > 0 {
		output += store.EncryptedExtension
		key += " recipients=" + strings.Join(recipients, ",")
	}
	for _, recipient := range recipients {
		args = append(args, "--recipient="+recipient)
	}
	return controlplane.Job{
		Component: hosted.Backup, Key: key, Archives: true, ReadsCluster: true, Store: true,
		Args: append(args, "--pki="+controlplane.PKIDir, "--documents="+controlplane.DocumentsDir,
			"--about="+string(encoded), "--keep="+strconv.Itoa(o.Keep),
			"--output="+output),
	}
}
