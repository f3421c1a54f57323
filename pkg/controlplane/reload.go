package controlplane

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/store"
)

// restoreStore gives the control plane its address, which clients ask already, brings its store up and loads it.
func (p *Provisioner) restoreStore(ctx context.Context, begun *progress, report func(string)) (Endpoint, error) {
	report("[2/5 keys] reading the cluster's authorities")
	k, _, err := p.ensureKeys(ctx)
	if err != nil {
		return Endpoint{}, err
	}
	endpoint, _, err := p.expose(ctx, prefix(report, "[3/5 endpoint] "))
	if err != nil || begun.Loaded {
		return endpoint, err
	}
	needs, _, _, err := p.needs(ctx, k, endpoint)
	if err != nil {
		return endpoint, err
	}
	if _, err := p.set(ctx, needs...); err != nil {
		return endpoint, fmt.Errorf("setting what the store needs: %w", err)
	}
	if p.Cluster.Store().Kind == config.StoreEtcd {
		if _, err := p.runEtcd(ctx, k, prefix(report, "[4/5 store] ")); err != nil {
			return endpoint, err
		}
	}
	var loaded store.Result
	if _, err := p.runTask(ctx, p.loadTask(begun), &loaded, prefix(report, "[4/5 store] ")); err != nil {
		return endpoint, err
	}
	begun.Loaded = true
	if err := p.noteRestore(ctx, begun); err != nil {
		return endpoint, err
	}
	return endpoint, p.removeTasks(ctx, componentRestore)
}

// loadTask loads an archive. How clients that remember the cluster from before find out that it went back depends on
// the store: SQLite goes on counting behind all that they can remember, so that every one of their revisions is too old
// and they list anew, as after any long pause. With other stores there is no way to count on other than as many writes,
// so the pod answers the clients for a while in the API server's place; see store.ServeHolding.
func (p *Provisioner) loadTask(begun *progress) task {
	args := append([]string{"store", "load", "--folder=" + backupsDir, "--cluster=" + p.Cluster.Name,
		"--archive=" + begun.Archive}, p.storeFlags()...)
	t := task{component: componentRestore, key: "load " + begun.Archive, store: true,
		after: begun.Revision + store.Margin}
	if !p.persists() {
		t.after, t.holding = 0, true
		args = append(args, fmt.Sprintf("--answer=:%d", p.apiPort()), "--tls-cert="+cert(certServing),
			"--tls-key="+key(certServing))
	}
	t.args = args
	return t
}

// noteRestore writes how far a restore is onto Secret <cluster>-pki; nil when it is done.
func (p *Provisioner) noteRestore(ctx context.Context, state *progress) error {
	var note any // null removes an annotation
	if state != nil {
		text, err := json.Marshal(state)
		if err != nil {
			return fmt.Errorf("encoding the state of the restore: %w", err)
		}
		note = string(text)
	}
	return p.annotate(ctx, restoreAnnotation, note)
}

// annotate sets an annotation of Secret <cluster>-pki, or removes it where value is nil.
func (p *Provisioner) annotate(ctx context.Context, name string, value any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{name: value}}})
	if err != nil {
		return fmt.Errorf("encoding annotation %s: %w", name, err)
	}
	_, err = p.Host.CoreV1().Secrets(p.namespace()).Patch(ctx, p.names().pki(), types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: apply.Manager})
	if err != nil {
		return fmt.Errorf("noting %s on Secret %q: %w", name, p.names().pki(), apply.Classify(err))
	}
	return nil
}
