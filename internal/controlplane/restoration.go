package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// RestoreAnnotation is on Secret <cluster>-pki, with a Restoration as JSON, until a restore is done.
const RestoreAnnotation = "argosy.dev/restore"

// Restoration is the progress of a restore, with the properties of its archive.
type Restoration struct {
	Archive  string    `json:"archive"`
	Taken    time.Time `json:"taken"`
	Keys     int       `json:"keys"`
	Revision int64     `json:"revision"`
	// Kubernetes is the version of the API server that wrote the archive's state.
	Kubernetes string `json:"kubernetes,omitempty"`
	// Endpoint is host:port of the API server when the archive was made.
	Endpoint string `json:"endpoint"`
	// Loaded means that the store is complete.
	Loaded bool `json:"loaded"`
}

// RestorationOf returns the restore that is under way for the cluster whose keys are in pki; nil when there is none.
func RestorationOf(pki *corev1.Secret) *Restoration {
	text, found := pki.Annotations[RestoreAnnotation]
	if !found {
		return nil
	}
	r := &Restoration{}
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return &Restoration{Archive: "?"} // edited by hand: the store still can't be taken for complete
	}
	return r
}

// NoteRestoration writes the progress of a restore onto Secret <cluster>-pki; nil when it is done.
func (p *Provisioner) NoteRestoration(ctx context.Context, r *Restoration) error {
	if r == nil {
		return p.AnnotateKeys(ctx, RestoreAnnotation, nil)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the state of the restore: %w", err)
	}
	return p.AnnotateKeys(ctx, RestoreAnnotation, string(text))
}

// checkNotRestoring refuses to run a control plane on a store that is not complete.
func (p *Provisioner) checkNotRestoring(pki *corev1.Secret) error {
	if begun := RestorationOf(pki); begun != nil && !begun.Loaded && !p.restores {
		return errclass.Errorf(errclass.Configuration, "a restore from archive %q was interrupted: submit workflow "+
			"restore again, which continues it", begun.Archive)
	}
	return nil
}

// ProvisionRestored provisions a cluster whose keys come from an archive: it calls load when the store is there, and
// brings up the pods when it is loaded. Where r is loaded already, load is not called.
func (p *Provisioner) ProvisionRestored(ctx context.Context, r *Restoration,
	load func(ctx context.Context, report func(string)) error, report func(string),
) (Outcome, error) {
	run := *p
	run.restores, run.archived = true, r.Endpoint
	endpoint, err := run.restoreStore(ctx, r.Loaded, load, report)
	if err != nil {
		return Outcome{}, err
	}
	outcome, err := run.provision(ctx, hosted.Prefixed(report, "[5/5 control plane] "))
	if err != nil {
		return outcome, err
	}
	if endpoint.Address() != r.Endpoint {
		outcome.MachinesKnow = r.Endpoint
	}
	return outcome, p.NoteRestoration(ctx, nil)
}

// restoreStore gives the control plane its address, which clients ask already, brings its store up and has it loaded.
func (p *Provisioner) restoreStore(ctx context.Context, loaded bool,
	load func(ctx context.Context, report func(string)) error, report func(string),
) (Endpoint, error) {
	report("[2/5 keys] reading the cluster's authorities")
	k, _, err := p.ensureKeys(ctx)
	if err != nil {
		return Endpoint{}, err
	}
	endpoint, _, err := p.expose(ctx, hosted.Prefixed(report, "[3/5 endpoint] "))
	if err != nil || loaded {
		return endpoint, err
	}
	needs, err := p.podInputs(ctx, k, endpoint)
	if err != nil {
		return endpoint, err
	}
	if _, err := p.set(ctx, needs.objects...); err != nil {
		return endpoint, fmt.Errorf("setting the objects that the store needs: %w", err)
	}
	report = hosted.Prefixed(report, "[4/5 store] ")
	if p.Store().Kind == config.StoreEtcd {
		if _, err := p.runEtcd(ctx, k, report); err != nil {
			return endpoint, err
		}
	}
	return endpoint, load(ctx, report)
}
