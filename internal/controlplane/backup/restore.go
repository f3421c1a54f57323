package backup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane"
	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/store"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// RestoreOptions choose the archive of a restore.
type RestoreOptions struct {
	// Archive is its name, or store.Latest.
	Archive string
	// ReplaceVolumes deletes the volumes with the state of an earlier control plane. Without it a restore is refused
	// while they exist.
	ReplaceVolumes bool
}

// Restored describes a restored cluster.
type Restored struct {
	controlplane.Outcome
	// Archive is the name of the archive, and Taken the time it was made.
	Archive string    `json:"archive"`
	Taken   time.Time `json:"taken"`
	Keys    int       `json:"keys"`
}

// String returns the text for people.
func (r Restored) String() string {
	return fmt.Sprintf("restored as it was at %s (archive %s, %s): %s", r.Taken.Format(time.RFC3339), r.Archive,
		count.Of(r.Keys, "key"), r.Outcome)
}

// Restore makes a cluster's control plane anew from an archive in volume <cluster>-backups: keys, then store, then all
// that provisioning makes. The documents are those of the ConfigMap, and must have the archive's identity; the kind of
// store alone may differ, since archives are the same for all. An interrupted restore continues.
func Restore(ctx context.Context, p *controlplane.Provisioner, o RestoreOptions,
	report func(string),
) (Restored, error) {
	started := time.Now()
	restored, err := restore(ctx, p, o, report)
	restored.Seconds = time.Since(started).Seconds()
	if err != nil {
		return restored, fmt.Errorf("restoring cluster %q: %w", p.Name, err)
	}
	p.Info("cluster restored", "archive", restored.Archive, "server", restored.Server, "keys", restored.Keys,
		"seconds", restored.Seconds)
	return restored, nil
}

func restore(ctx context.Context, p *controlplane.Provisioner, o RestoreOptions,
	report func(string),
) (Restored, error) {
	report("[1/5 archive] checking that a restore would harm nothing")
	begun, err := interrupted(ctx, p, &o)
	if err != nil {
		return Restored{}, err
	}
	if begun == nil {
		p, begun, err = restoreKeys(ctx, p, o, hosted.Prefixed(report, "[1/5 archive] "))
	} else {
		p, err = p.ForArchive(begun.Archive, begun.Kubernetes)
	}
	if err != nil {
		return Restored{}, err
	}
	restored := Restored{Archive: begun.Archive, Taken: begun.Taken, Keys: begun.Keys}
	restored.Outcome, err = p.ProvisionRestored(ctx, begun, func(ctx context.Context, report func(string)) error {
		return load(ctx, p, begun, report)
	}, report)
	return restored, err
}

// load fills the store from the archive.
func load(ctx context.Context, p *controlplane.Provisioner, begun *controlplane.Restoration,
	report func(string),
) error {
	var loaded store.Result
	if _, err := p.RunJob(ctx, loadJob(p, begun), &loaded, report); err != nil {
		return err
	}
	begun.Loaded = true
	if err := p.NoteRestoration(ctx, begun); err != nil {
		return err
	}
	return p.RemoveJobs(ctx, hosted.Restore)
}

// loadJob loads an archive. Clients that remember the cluster from before have to notice that it went back. SQLite is
// made to count on behind all revisions that they can remember, so that each of theirs is too old and they list anew,
// as after any long pause. Other stores only count on by as many writes, so there the pod answers the clients in the
// API server's place for a while; see store.ServeHolding.
func loadJob(p *controlplane.Provisioner, begun *controlplane.Restoration) controlplane.Job {
	job := controlplane.Job{
		Component: hosted.Restore, Key: "load " + begun.Archive, Archives: true, OpensArchive: true, Store: true,
		Args: append([]string{
			"store", "load", "--folder=" + controlplane.BackupsDir, "--cluster=" + p.Name,
			"--archive=" + begun.Archive,
		}, p.StoreFlags()...),
	}
	if p.Persists() {
		job.After = begun.Revision + store.Margin
	} else {
		job.Holding = true
	}
	return job
}

// interrupted returns the restore that was interrupted, or nil when one may begin. Anything else is refused.
//
//	keys  restore noted        control plane  volumes     result
//	no    –                    no             no          a restore begins
//	no    –                    no             yes         refused, or with ReplaceVolumes they are deleted
//	no    –                    yes            –           refused: the keys of a control plane were removed
//	yes   of this archive      –              –           it continues
//	yes   of another archive   –              –           refused
//	yes   no                   –              –           refused: the cluster exists
func interrupted(ctx context.Context, p *controlplane.Provisioner, o *RestoreOptions) (*controlplane.Restoration,
	error,
) {
	if err := p.CheckHosted(); err != nil {
		return nil, err
	}
	if err := checkReachable(p.Cluster); err != nil {
		return nil, err
	}
	if err := p.CheckPermissions(ctx); err != nil {
		return nil, err
	}
	if err := p.CheckPods(ctx); err != nil {
		return nil, err
	}
	if err := p.CheckDataSource(ctx); err != nil {
		return nil, err
	}
	if o.Archive == "" {
		o.Archive = store.Latest
	}
	held, err := p.Host.CoreV1().Secrets(p.Namespace).Get(ctx, p.Names().PKI(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, checkRoom(ctx, p, o.ReplaceVolumes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %q: %w", p.Names().PKI(), apply.Classify(err))
	}
	begun := controlplane.RestorationOf(held)
	switch {
	case begun == nil:
		return nil, errclass.Errorf(errclass.Configuration,
			"the cluster exists (Secret %q), and a restore makes a control plane where there is none: submit "+
				"deprovision first, with machines=keep for its machines to wait", held.Name)
	case o.Archive != store.Latest && o.Archive != begun.Archive:
		return nil, errclass.Errorf(errclass.Configuration,
			"a restore from archive %q was interrupted: submit it again with that one, or deprovision first, with "+
				"machines=keep and finalBackup=false", begun.Archive)
	}
	return begun, nil
}

// checkRoom refuses a namespace with objects of an earlier control plane.
func checkRoom(ctx context.Context, p *controlplane.Provisioner, replace bool) error {
	if err := p.CheckRoom(ctx); err != nil {
		return err
	}
	left, err := p.StateVolumes(ctx)
	if err != nil || len(left) == 0 || replace {
		return err
	}
	return errclass.Errorf(errclass.Configuration, "PersistentVolumeClaim %s holds the state of an earlier control "+
		"plane, and a restore needs an empty store: delete it, or submit again with replaceVolumes=true, which does",
		strings.Join(left, ", "))
}

// makeRoom deletes the volumes with an earlier control plane's state, and waits until they are gone.
func makeRoom(ctx context.Context, cluster hosted.Cluster, report func(string)) error {
	left, err := cluster.StateVolumes(ctx)
	if err != nil {
		return err
	}
	for _, claim := range left {
		if err := cluster.Host.CoreV1().PersistentVolumeClaims(cluster.Namespace).Delete(ctx, claim,
			metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting PersistentVolumeClaim %q: %w", claim, apply.Classify(err))
		}
	}
	unmet := "volumes of an earlier control plane not deleted"
	return cluster.Wait(ctx, unmet, report, func(ctx context.Context) (string, error) {
		left, err := cluster.StateVolumes(ctx)
		if err != nil || len(left) == 0 {
			return "", err
		}
		return fmt.Sprintf("PersistentVolumeClaim %s is being deleted and still in use", strings.Join(left, ", ")), nil
	})
}

// restoreKeys reads the archive in a pod and makes Secret <cluster>-pki of its keys, with a note that the restore is
// not done. From then on the namespace has this cluster, and no other can be made in its place. It returns the
// provisioner for the archive's version where the documents name none or an earlier one.
func restoreKeys(ctx context.Context, p *controlplane.Provisioner, o RestoreOptions,
	report func(string),
) (*controlplane.Provisioner, *controlplane.Restoration, error) {
	if _, err := p.Host.CoreV1().PersistentVolumeClaims(p.Namespace).Get(ctx, p.Names().Backups(),
		metav1.GetOptions{}); err != nil {
		return nil, nil, fmt.Errorf("reading PersistentVolumeClaim %q, which holds the cluster's archives: %w",
			p.Names().Backups(), apply.Classify(err))
	}
	reader, err := store.NewReader()
	if err != nil {
		return nil, nil, err
	}
	var read store.Result
	pod, err := p.RunJob(ctx, controlplane.Job{
		Component: hosted.Restore, Archives: true, OpensArchive: true,
		Args: []string{
			"store", "read", "--folder=" + controlplane.BackupsDir, "--cluster=" + p.Name, "--archive=" + o.Archive,
			"--seal-for=" + reader.Address(),
		},
	}, &read, report)
	if err != nil {
		return nil, nil, err
	}
	if err := checkIdentity(p.Cluster, read); err != nil {
		return nil, nil, err
	}
	if p, err = p.ForArchive(read.Archive, read.Kubernetes); err != nil {
		return nil, nil, err
	}
	files, err := unseal(ctx, p.Cluster, pod.Name, reader)
	if err != nil {
		return nil, nil, err
	}
	// The archive is complete, of this cluster, and its keys are at hand: the state that it replaces may be deleted.
	if err := makeRoom(ctx, p.Cluster, report); err != nil {
		return nil, nil, err
	}
	begun := &controlplane.Restoration{
		Archive: read.Archive, Taken: read.Taken, Keys: read.Keys,
		Revision: read.Revision, Kubernetes: read.Kubernetes, Endpoint: read.Endpoint,
	}
	return p, begun, createKeys(ctx, p.Cluster, files, begun)
}

// checkIdentity compares the documents with the cluster of the archive, except for the kind of store: any store takes
// any archive.
func checkIdentity(cluster hosted.Cluster, archive store.Result) error {
	var was config.Identity
	if err := json.Unmarshal(archive.Identity, &was); err != nil {
		return errclass.Errorf(errclass.Permanent, "reading the identity of the cluster in archive %q: %w",
			archive.Archive, err)
	}
	was.Store = cluster.Identity().Store
	if err := cluster.CheckImmutable(was); err != nil {
		return errclass.Errorf(errclass.Configuration,
			"archive %q is of another cluster than the documents describe: %w", archive.Archive, err)
	}
	return nil
}

// unseal finds the sealed keys in a pod's log.
func unseal(ctx context.Context, cluster hosted.Cluster, pod string, reader *store.Reader) (map[string][]byte, error) {
	stream, err := cluster.Host.CoreV1().Pods(cluster.Namespace).GetLogs(pod,
		&corev1.PodLogOptions{Container: controlplane.JobContainer}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the log of pod %q: %w", pod, apply.Classify(err))
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxSealed)
	for lines.Scan() {
		if sealed, is := strings.CutPrefix(lines.Text(), store.SealedPrefix); is {
			return reader.Unseal(sealed)
		}
	}
	return nil, errclass.With(errclass.Permanent, errors.Join(fmt.Errorf("reading the log of pod %q: the cluster's "+
		"keys are not in it", pod), lines.Err()))
}

// maxSealed bounds the sealed keys, in bytes; they are some 10 KB.
const maxSealed = 4 << 20

// createKeys makes Secret <cluster>-pki, which is only ever created, never replaced.
func createKeys(ctx context.Context, cluster hosted.Cluster, files map[string][]byte,
	begun *controlplane.Restoration,
) error {
	identity, err := json.Marshal(cluster.Identity())
	if err != nil {
		return fmt.Errorf("encoding the cluster's identity: %w", err)
	}
	note, err := json.Marshal(begun)
	if err != nil {
		return fmt.Errorf("encoding the state of the restore: %w", err)
	}
	secret := cluster.Secret(cluster.Names().PKI(), files)
	secret.Annotations = map[string]string{
		hosted.IdentityAnnotation:      string(identity),
		controlplane.RestoreAnnotation: string(note),
	}
	if _, err := cluster.Host.CoreV1().Secrets(cluster.Namespace).Create(ctx, secret,
		metav1.CreateOptions{FieldManager: apply.Manager}); err != nil {
		return fmt.Errorf("creating Secret %q: %w", secret.Name, apply.Classify(err))
	}
	return nil
}
