package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// DeprovisionOptions say what goes with a control plane, and what stays.
type DeprovisionOptions struct {
	// Machines is RefuseMachines, ResetMachines or KeepMachines.
	Machines string
	// Force removes a cluster that does not answer.
	Force bool
	// KeepVolumes keeps the volumes with the state. The volume with archives stays unless neither this nor FinalBackup
	// is asked for.
	KeepVolumes bool
	// FinalBackup makes an archive first.
	FinalBackup bool
}

// Deprovisioned is what became of a cluster.
type Deprovisioned struct {
	// Removed objects and Kept ones, as "Secret team-a-pki".
	Removed []string `json:"removed"`
	Kept    []string `json:"kept"`
	// Archive is the final backup's name.
	Archive string `json:"archive,omitempty"`
	// Waiting are the nodes that were left as they are, for a restore; when the cluster does not answer, all that may
	// be.
	Waiting []string `json:"waiting,omitempty"`
	Seconds float64  `json:"seconds"`
}

// String is what people read.
func (d Deprovisioned) String() string {
	text := fmt.Sprintf("%d objects removed after %.1f s, nothing is left", len(d.Removed), d.Seconds)
	if len(d.Removed) == 0 {
		text = "there was nothing to remove"
	}
	if len(d.Kept) > 0 {
		text += "; kept: " + strings.Join(d.Kept, ", ")
	}
	if d.Archive != "" {
		text += "\nfinal backup: " + d.Archive
	}
	if len(d.Waiting) > 0 {
		text += fmt.Sprintf("\n%d machines wait for the control plane to come back at its address: %s; submit restore",
			len(d.Waiting), strings.Join(d.Waiting, ", "))
	}
	return text
}

// deprovisionAnnotation is on Secret <cluster>-pki from the moment at which the cluster may go. It counts for as long
// as there is no control plane: a run that was interrupted goes on without asking a cluster that can't answer any more,
// and one that was provisioned again meanwhile is asked again.
const deprovisionAnnotation = "argosy.dev/deprovision"

// Deprovision removes all that provisioning made in the host cluster, and proves that it is gone. It leaves alone what
// users brought: their ConfigMap, their Secrets, an external database. A run that was interrupted goes on.
func (p *Provisioner) Deprovision(ctx context.Context, o DeprovisionOptions, report func(string)) (Deprovisioned,
	error) {
	started := time.Now()
	done, err := p.deprovision(ctx, o, report)
	done.Seconds = time.Since(started).Seconds()
	if err != nil {
		return done, fmt.Errorf("deprovisioning cluster %q: %w", p.Cluster.Name, err)
	}
	if p.Log != nil {
		p.Log.Info("cluster deprovisioned", "removed", len(done.Removed), "kept", done.Kept, "archive", done.Archive,
			"seconds", done.Seconds)
	}
	return done, nil
}

func (p *Provisioner) deprovision(ctx context.Context, o DeprovisionOptions, report func(string)) (Deprovisioned,
	error) {
	var done Deprovisioned
	if err := p.checkHosted(); err != nil {
		return done, err
	}
	going, err := p.going(ctx)
	if err != nil {
		return done, err
	}
	if !going {
		if done.Archive, done.Waiting, err = p.sayGoodbye(ctx, o, report); err != nil {
			return done, err
		}
	}
	done.Removed, err = p.removeAll(ctx, o, report)
	if err != nil {
		return done, err
	}
	done.Kept, err = p.kept(ctx, o)
	return done, err
}

// sayGoodbye makes sure that no machine is joined any more, unless they are kept, makes the final backup and notes that
// the cluster may go. It returns the backup's name and the machines that are kept.
func (p *Provisioner) sayGoodbye(ctx context.Context, o DeprovisionOptions, report func(string)) (string, []string,
	error) {
	if err := p.checkGoodbye(ctx, o); err != nil {
		return "", nil, err
	}
	joined, err := p.joined(ctx, prefix(report, "[1/4 machines] "))
	if err != nil {
		return "", nil, err
	}
	var waiting []string
	if o.Machines == KeepMachines {
		waiting = append(slices.Clone(joined.Machines), joined.Strangers...)
	} else {
		o.Machines = RefuseMachines // whatever was to be reset has been by now
	}
	if err := joined.refusal(o); err != nil && (len(joined.Machines) > 0 || !o.Force) {
		return "", nil, errclass.With(errclass.Configuration, err)
	}
	archive := ""
	if o.FinalBackup {
		made, err := p.Backup(ctx, BackupOptions{final: true}, prefix(report, "[2/4 final backup] "))
		if err != nil {
			return "", nil, fmt.Errorf("making the final backup, without which finalBackup=false removes the cluster: %w", err)
		}
		archive = made.Archive
	}
	// Without keys, what there is is not a cluster, and the next run needs no permission.
	err = p.annotate(ctx, deprovisionAnnotation, p.now().UTC().Format(time.RFC3339))
	if apierrors.IsNotFound(err) {
		return archive, waiting, nil
	}
	return archive, waiting, err
}

// removeAll removes what runs, then what that used, then the keys. The order is what makes an interrupted run go on: as
// long as anything is left that could be a cluster's, so are the keys, with the note on them.
func (p *Provisioner) removeAll(ctx context.Context, o DeprovisionOptions, report func(string)) ([]string, error) {
	var removed []string
	kinds := p.kinds()
	for _, stage := range []struct {
		doing string
		takes func(kind string, object metav1.ObjectMeta) bool
	}{
		{"[3/4 pods] ", func(kind string, _ metav1.ObjectMeta) bool {
			return kind == kindStatefulSet || kind == kindJob || kind == kindPod
		}},
		{"[4/4 objects] ", func(kind string, object metav1.ObjectMeta) bool {
			return object.Name != p.names().pki() && o.removes(kind, object)
		}},
		{"[4/4 objects] ", func(kind string, _ metav1.ObjectMeta) bool { return kind == kindSecret }},
	} {
		gone, err := p.removeStage(ctx, kinds, stage.takes, prefix(report, stage.doing))
		removed = append(removed, gone...)
		if err != nil {
			return removed, err
		}
	}
	slices.Sort(removed)
	return slices.Compact(removed), nil
}

// removes says whether an object goes: volumes where that is asked for, what is known of machines when they go as well.
func (o DeprovisionOptions) removes(kind string, object metav1.ObjectMeta) bool {
	switch component := object.Labels[componentLabel]; {
	case component == componentMachines:
		return o.Machines != KeepMachines
	case kind != kindClaim:
		return true
	case component == componentBackup:
		return !o.KeepVolumes && !o.FinalBackup
	}
	return !o.KeepVolumes
}

// removeStage removes objects and waits until they and their pods are gone.
func (p *Provisioner) removeStage(ctx context.Context, kinds []kind, takes func(string, metav1.ObjectMeta) bool,
	report func(string)) ([]string, error) {
	var removed []string
	err := p.wait(ctx, report, func(ctx context.Context) (string, error) {
		var left []string
		for _, kind := range kinds {
			objects, err := kind.list(ctx)
			if err != nil {
				return "", err
			}
			for _, object := range objects {
				if !takes(kind.name, object) {
					continue
				}
				name := kind.name + " " + object.Name
				left = append(left, name)
				if object.DeletionTimestamp != nil || kind.name == kindPod {
					continue // it is on its way, or goes with what made it
				}
				if err := kind.remove(ctx, object); err != nil {
					return "", err
				}
				removed = append(removed, name)
			}
		}
		if len(left) == 0 {
			return "", nil
		}
		return "waiting for the end of " + strings.Join(left, ", "), nil
	})
	return removed, err
}

// kept is what stays after a cluster went.
func (p *Provisioner) kept(ctx context.Context, o DeprovisionOptions) ([]string, error) {
	var kept []string
	for _, kind := range p.kinds() {
		objects, err := kind.list(ctx)
		if err != nil {
			return nil, err
		}
		for _, object := range objects {
			if o.removes(kind.name, object) && kind.name != kindClaim {
				return nil, errclass.Errorf(errclass.Permanent,
					"looking for what is left: somebody made %s %s meanwhile; submit deprovision again", kind.name,
					object.Name)
			}
			kept = append(kept, kind.name+" "+object.Name)
		}
	}
	if p.Cluster.Store().Kind == config.StoreExternal {
		kept = append(kept, "the external database")
	}
	return kept, nil
}
