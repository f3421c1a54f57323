package controlplane

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

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/store"
)

// SealedPrefix begins the line of a pod's log that carries the cluster's keys, sealed for the process that waits for
// them.
const SealedPrefix = "sealed keys: "

// RestoreOptions say what is restored.
type RestoreOptions struct {
	// Archive is its name, or store.Latest.
	Archive string
	// ReplaceVolumes deletes the volumes with the state of the control plane that was there before. Without it a
	// restore is refused while they are there.
	ReplaceVolumes bool
}

// Restored is a cluster that came back.
type Restored struct {
	Outcome
	// Archive that it came from, and when that was taken.
	Archive string    `json:"archive"`
	Taken   time.Time `json:"taken"`
	Keys    int       `json:"keys"`
}

// String is what people read.
func (r Restored) String() string {
	return fmt.Sprintf("restored as it was at %s (archive %s, %d keys): %s", r.Taken.Format(time.RFC3339), r.Archive,
		r.Keys, r.Outcome)
}

// Restore makes a cluster's control plane anew from an archive in volume <cluster>-backups: keys, then store, then all
// that provisioning makes. The documents are those of the ConfigMap, and the archive's must have the same identity; the
// kind of store alone may differ, since archives are the same for all. A restore that was interrupted goes on.
func (p *Provisioner) Restore(ctx context.Context, o RestoreOptions, report func(string)) (Restored, error) {
	started := time.Now()
	restored, err := p.restore(ctx, o, report)
	restored.Seconds = time.Since(started).Seconds()
	if err != nil {
		return restored, fmt.Errorf("restoring cluster %q: %w", p.Cluster.Name, err)
	}
	if p.Log != nil {
		p.Log.Info("cluster restored", "archive", restored.Archive, "server", restored.Server, "keys", restored.Keys,
			"seconds", restored.Seconds)
	}
	return restored, nil
}

func (p *Provisioner) restore(ctx context.Context, o RestoreOptions, report func(string)) (Restored, error) {
	report("[1/5 archive] checking that there is nothing that a restore would harm")
	begun, err := p.begun(ctx, &o)
	if err != nil {
		return Restored{}, err
	}
	if begun == nil {
		if begun, err = p.restoreKeys(ctx, o, prefix(report, "[1/5 archive] ")); err != nil {
			return Restored{}, err
		}
	}
	restored := Restored{Archive: begun.Archive, Taken: begun.Taken, Keys: begun.Keys}
	run := *p
	run.restores, run.archived = true, begun.Endpoint
	endpoint, err := run.restoreStore(ctx, begun, report)
	if err != nil {
		return restored, err
	}
	if restored.Outcome, err = run.provision(ctx, prefix(report, "[5/5 control plane] ")); err != nil {
		return restored, err
	}
	if endpoint.Address() != begun.Endpoint {
		restored.MachinesKnow = begun.Endpoint
	}
	return restored, p.noteRestore(ctx, nil)
}

// restoreAnnotation is on Secret <cluster>-pki for as long as a restore is not done.
const restoreAnnotation = "argosy.dev/restore"

// progress of a restore, and what it has to know of its archive.
type progress struct {
	Archive  string    `json:"archive"`
	Taken    time.Time `json:"taken"`
	Keys     int       `json:"keys"`
	Revision int64     `json:"revision"`
	Endpoint string    `json:"endpoint"`
	// Loaded says that the store is complete.
	Loaded bool `json:"loaded"`
}

// restoring returns how far the restore of a cluster is whose keys are in a Secret; nil when there is none.
func restoring(pki *corev1.Secret) *progress {
	text, there := pki.Annotations[restoreAnnotation]
	if !there {
		return nil
	}
	p := &progress{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return &progress{Archive: "?"} // somebody wrote it: still no state to use
	}
	return p
}

// checkNotRestoring refuses to run a control plane on a store that is not complete.
func (p *Provisioner) checkNotRestoring(pki *corev1.Secret) error {
	if begun := restoring(pki); begun != nil && !begun.Loaded && !p.restores {
		return errclass.Errorf(errclass.Configuration, "a restore from archive %q was interrupted: submit workflow "+
			"restore again, which goes on from there", begun.Archive)
	}
	return nil
}

// begun returns the restore that was interrupted, or nil when there is nothing yet. Anything else is refused.
//
//	keys  restore noted        control plane  volumes     what happens
//	no    –                    no             no          a restore begins
//	no    –                    no             yes         refused, or they are deleted when that was asked for
//	no    –                    yes            –           refused: somebody removed the keys of a control plane
//	yes   of this archive      –              –           it goes on
//	yes   of another archive   –              –           refused
//	yes   no                   –              –           refused: the cluster is there
func (p *Provisioner) begun(ctx context.Context, o *RestoreOptions) (*progress, error) {
	if err := p.checkHosted(); err != nil {
		return nil, err
	}
	if err := p.checkReachable(); err != nil {
		return nil, err
	}
	if err := p.checkPermissions(ctx); err != nil {
		return nil, err
	}
	if err := p.checkDataSource(ctx); err != nil {
		return nil, err
	}
	if o.Archive == "" {
		o.Archive = store.Latest
	}
	held, err := p.Host.CoreV1().Secrets(p.namespace()).Get(ctx, p.names().pki(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, p.checkRoom(ctx, o.ReplaceVolumes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading Secret %q: %w", p.names().pki(), apply.Classify(err))
	}
	begun := restoring(held)
	switch {
	case begun == nil:
		return nil, errclass.Errorf(errclass.Configuration,
			"the cluster is there (Secret %q): a restore makes a control plane where there is none; submit "+
				"deprovision first, with machines=keep for its machines to wait", held.Name)
	case o.Archive != store.Latest && o.Archive != begun.Archive:
		return nil, errclass.Errorf(errclass.Configuration,
			"a restore from archive %q was interrupted: submit it again with that one, or deprovision first, with "+
				"machines=keep and finalBackup=false", begun.Archive)
	}
	return begun, nil
}

// checkRoom refuses a namespace with what an earlier control plane left.
func (p *Provisioner) checkRoom(ctx context.Context, replace bool) error {
	stand, err := p.standingSets(ctx)
	if err != nil {
		return err
	}
	if err := p.checkKeysOf(stand); err != nil {
		return err
	}
	if err := p.checkNoStrangers(ctx); err != nil {
		return err
	}
	left, err := p.stateVolumes(ctx)
	if err != nil || len(left) == 0 || replace {
		return err
	}
	return errclass.Errorf(errclass.Configuration, "PersistentVolumeClaim %s holds the state of an earlier control "+
		"plane, and a restore wants an empty store: delete it, or submit again with replaceVolumes=true, which does",
		strings.Join(left, ", "))
}

// makeRoom deletes the volumes with an earlier control plane's state, and waits until they are gone.
func (p *Provisioner) makeRoom(ctx context.Context, report func(string)) error {
	left, err := p.stateVolumes(ctx)
	if err != nil {
		return err
	}
	for _, claim := range left {
		if err := p.Host.CoreV1().PersistentVolumeClaims(p.namespace()).Delete(ctx, claim,
			metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting PersistentVolumeClaim %q: %w", claim, apply.Classify(err))
		}
	}
	return p.wait(ctx, report, func(ctx context.Context) (string, error) {
		left, err := p.stateVolumes(ctx)
		if err != nil || len(left) == 0 {
			return "", err
		}
		return fmt.Sprintf("PersistentVolumeClaim %s is being deleted, and something still uses it",
			strings.Join(left, ", ")), nil
	})
}

// stateVolumes are the volumes that hold a control plane's state.
func (p *Provisioner) stateVolumes(ctx context.Context) ([]string, error) {
	claims, err := p.Host.CoreV1().PersistentVolumeClaims(p.namespace()).List(ctx,
		metav1.ListOptions{LabelSelector: p.ofCluster()})
	if err != nil {
		return nil, fmt.Errorf("listing PersistentVolumeClaims: %w", apply.Classify(err))
	}
	var names []string
	for _, claim := range claims.Items {
		if claim.Labels[componentLabel] != componentBackup {
			names = append(names, claim.Name)
		}
	}
	return names, nil
}

// restoreKeys reads the archive in a pod and makes Secret <cluster>-pki of its keys, with a note that the restore is
// not done. From then on the namespace has this cluster, and no other can be made in its place.
func (p *Provisioner) restoreKeys(ctx context.Context, o RestoreOptions, report func(string)) (*progress, error) {
	if _, err := p.Host.CoreV1().PersistentVolumeClaims(p.namespace()).Get(ctx, p.names().backups(),
		metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("reading PersistentVolumeClaim %q, which holds the cluster's archives: %w",
			p.names().backups(), apply.Classify(err))
	}
	reader, err := store.NewReader()
	if err != nil {
		return nil, err
	}
	var read store.Result
	pod, err := p.runTask(ctx, task{component: componentRestore, args: []string{
		"store", "read", "--folder=" + backupsDir, "--cluster=" + p.Cluster.Name, "--archive=" + o.Archive,
		"--seal-for=" + reader.Address(),
	}}, &read, report)
	if err != nil {
		return nil, err
	}
	if err := p.checkIdentity(read); err != nil {
		return nil, err
	}
	files, err := p.unseal(ctx, pod.Name, reader)
	if err != nil {
		return nil, err
	}
	// The archive is whole, of this cluster, and its keys are at hand: what it replaces may go.
	if err := p.makeRoom(ctx, report); err != nil {
		return nil, err
	}
	begun := &progress{Archive: read.Archive, Taken: read.Taken, Keys: read.Keys, Revision: read.Revision,
		Endpoint: read.Endpoint}
	return begun, p.createKeys(ctx, files, begun)
}

// checkIdentity compares the documents with the cluster that the archive is of. An archive goes into any kind of store.
func (p *Provisioner) checkIdentity(archive store.Result) error {
	var was config.Identity
	if err := json.Unmarshal(archive.Identity, &was); err != nil {
		return errclass.Errorf(errclass.Permanent, "reading the identity of the cluster in archive %q: %w",
			archive.Archive, err)
	}
	was.Store = p.Cluster.Identity().Store
	if err := p.Cluster.CheckImmutable(was); err != nil {
		return errclass.Errorf(errclass.Configuration,
			"archive %q is of another cluster than the documents describe: %w", archive.Archive, err)
	}
	return nil
}

// unseal finds the sealed keys in a pod's log.
func (p *Provisioner) unseal(ctx context.Context, pod string, reader *store.Reader) (map[string][]byte, error) {
	stream, err := p.Host.CoreV1().Pods(p.namespace()).GetLogs(pod,
		&corev1.PodLogOptions{Container: taskContainer}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the log of pod %q: %w", pod, apply.Classify(err))
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxSealed)
	for lines.Scan() {
		if sealed, is := strings.CutPrefix(lines.Text(), SealedPrefix); is {
			return reader.Unseal(sealed)
		}
	}
	return nil, errclass.With(errclass.Permanent, errors.Join(fmt.Errorf("reading the log of pod %q: the cluster's "+
		"keys are not in it", pod), lines.Err()))
}

// maxSealed bounds the sealed keys; they are some 10 KB.
const maxSealed = 4 << 20

// createKeys makes Secret <cluster>-pki, which is created only ever, never replaced.
func (p *Provisioner) createKeys(ctx context.Context, files map[string][]byte, begun *progress) error {
	identity, err := json.Marshal(p.Cluster.Identity())
	if err != nil {
		return fmt.Errorf("encoding the cluster's identity: %w", err)
	}
	note, err := json.Marshal(begun)
	if err != nil {
		return fmt.Errorf("encoding the state of the restore: %w", err)
	}
	secret := p.secret(p.names().pki(), files)
	secret.Annotations = map[string]string{identityAnnotation: string(identity), restoreAnnotation: string(note)}
	if _, err := p.Host.CoreV1().Secrets(p.namespace()).Create(ctx, secret,
		metav1.CreateOptions{FieldManager: apply.Manager}); err != nil {
		return fmt.Errorf("creating Secret %q: %w", secret.Name, apply.Classify(err))
	}
	return nil
}
