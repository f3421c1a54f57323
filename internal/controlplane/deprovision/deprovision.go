// Package deprovision removes a hosted cluster's control plane from the host cluster and proves that nothing of it is
// left. Users' own objects (their ConfigMap, their Secrets, an external database) are never touched.
package deprovision

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/controlplane/hosted"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// Options choose the parts of a cluster that are removed with its control plane.
type Options struct {
	// Machines is RefuseMachines, ResetMachines or KeepMachines.
	Machines string
	// Force removes a cluster that does not answer.
	Force bool
	// KeepVolumes keeps the volumes with the state. The volume with archives is removed only without both this and
	// FinalBackup.
	KeepVolumes bool
	// FinalBackup makes an archive first.
	FinalBackup bool
}

// Deprovisioner removes one cluster.
type Deprovisioner struct {
	hosted.Cluster
	// FinalBackup writes the cluster's last archive and returns its name.
	FinalBackup func(ctx context.Context, report func(string)) (archive string, err error)
}

// Result describes a removed cluster.
type Result struct {
	// Removed and Kept are objects, as "Secret team-a-pki".
	Removed []string `json:"removed"`
	Kept    []string `json:"kept"`
	// Archive is the final backup's name.
	Archive string `json:"archive,omitempty"`
	// Waiting are the nodes that were left as they are, for a restore; when the cluster does not answer, all that may
	// be.
	Waiting []string `json:"waiting,omitempty"`
	Seconds float64  `json:"seconds"`
}

// String returns the text for people.
func (r Result) String() string {
	text := fmt.Sprintf("%s removed after %.1f s, nothing is left", count.Of(len(r.Removed), "object"), r.Seconds)
	if len(r.Removed) == 0 {
		text = "no changes needed: there is nothing to remove"
	}
	if len(r.Kept) > 0 {
		text += "; kept: " + strings.Join(r.Kept, ", ")
	}
	if r.Archive != "" {
		text += "\nfinal backup: " + r.Archive
	}
	if len(r.Waiting) > 0 {
		text += fmt.Sprintf("\n%s waiting for the control plane to come back at its address: %s; submit restore",
			count.Of(len(r.Waiting), "machine"), strings.Join(r.Waiting, ", "))
	}
	return text
}

// removalAnnotation is on Secret <cluster>-pki from the moment at which the cluster may be removed. It counts as long
// as there is no control plane: an interrupted run continues without asking a cluster that can't answer any more, and a
// cluster that was provisioned again meanwhile is asked again.
const removalAnnotation = "argosy.dev/deprovision"

// Run removes all that provisioning made in the host cluster and waits until it is gone. An interrupted run continues.
func (d *Deprovisioner) Run(ctx context.Context, o Options, report func(string)) (Result, error) {
	started := time.Now()
	result, err := d.run(ctx, o, report)
	result.Seconds = time.Since(started).Seconds()
	if err != nil {
		return result, fmt.Errorf("deprovisioning cluster %q: %w", d.Name, err)
	}
	d.Info("cluster deprovisioned", "removed", len(result.Removed), "kept", result.Kept, "archive", result.Archive,
		"seconds", result.Seconds)
	return result, nil
}

func (d *Deprovisioner) run(ctx context.Context, o Options, report func(string)) (Result, error) {
	var result Result
	if err := d.CheckHosted(); err != nil {
		return result, err
	}
	begun, err := d.begun(ctx)
	if err != nil {
		return result, err
	}
	if !begun {
		if result.Archive, result.Waiting, err = d.prepare(ctx, o, report); err != nil {
			return result, err
		}
	}
	result.Removed, err = d.removeAll(ctx, o, report)
	if err != nil {
		return result, err
	}
	result.Kept, err = d.kept(ctx, o)
	return result, err
}

// prepare makes sure that no machine is joined any more, unless they are kept, makes the final backup and notes that
// the cluster may be removed. It returns the backup's name and the machines that are kept.
func (d *Deprovisioner) prepare(ctx context.Context, o Options, report func(string)) (string, []string, error) {
	if err := d.checkRestorable(ctx, o); err != nil {
		return "", nil, err
	}
	joined, err := d.joined(ctx, hosted.Prefixed(report, "[1/4 machines] "))
	if err != nil {
		return "", nil, err
	}
	var waiting []string
	if o.Machines == KeepMachines {
		waiting = append(slices.Clone(joined.Machines), joined.Unlisted...)
	} else {
		o.Machines = RefuseMachines // those to be reset have been by now
	}
	if err := joined.refusal(o); err != nil && (len(joined.Machines) > 0 || !o.Force) {
		return "", nil, errclass.With(errclass.Configuration, err)
	}
	archive := ""
	if o.FinalBackup {
		archive, err = d.FinalBackup(ctx, hosted.Prefixed(report, "[2/4 final backup] "))
		if err != nil {
			return "", nil, fmt.Errorf("making the final backup (finalBackup=false removes the cluster without "+
				"one): %w", err)
		}
	}
	err = d.AnnotateKeys(ctx, removalAnnotation, d.Now().UTC().Format(time.RFC3339))
	if apierrors.IsNotFound(err) {
		return archive, waiting, nil // a cluster without keys is removed without permission, also by the next run
	}
	return archive, waiting, err
}

// removeAll removes the pods, then the objects that they used, then the keys. By this order an interrupted run can
// continue: as long as any other object is left, so are the keys, with the annotation.
func (d *Deprovisioner) removeAll(ctx context.Context, o Options, report func(string)) ([]string, error) {
	var removed []string
	kinds := d.kinds()
	for _, stage := range []struct {
		prefix string
		takes  func(kind string, object metav1.ObjectMeta) bool
	}{
		{"[3/4 pods] ", func(kind string, _ metav1.ObjectMeta) bool {
			return kind == kindStatefulSet || kind == kindJob || kind == kindPod
		}},
		{"[4/4 objects] ", func(kind string, object metav1.ObjectMeta) bool {
			return object.Name != d.Names().PKI() && o.removes(kind, object)
		}},
		{"[4/4 objects] ", func(kind string, _ metav1.ObjectMeta) bool { return kind == kindSecret }},
	} {
		gone, err := d.removeStage(ctx, kinds, stage.takes, hosted.Prefixed(report, stage.prefix))
		removed = append(removed, gone...)
		if err != nil {
			return removed, err
		}
	}
	slices.Sort(removed)
	return slices.Compact(removed), nil
}

// removes reports whether an object is removed: volumes where the options ask for it, objects about machines unless the
// machines are kept, all others always.
func (o Options) removes(kind string, object metav1.ObjectMeta) bool {
	switch component := object.Labels[hosted.ComponentLabel]; {
	case component == hosted.Machines:
		return o.Machines != KeepMachines
	case kind != kindClaim:
		return true
	case component == hosted.Backup:
		return !o.KeepVolumes && !o.FinalBackup
	}
	return !o.KeepVolumes
}

// removeStage removes objects and waits until they and their pods are gone.
func (d *Deprovisioner) removeStage(ctx context.Context, kinds []kind, takes func(string, metav1.ObjectMeta) bool,
	report func(string),
) ([]string, error) {
	var removed []string
	err := d.Wait(ctx, "objects not gone", report, func(ctx context.Context) (string, error) {
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
					continue // it is being deleted already, or is deleted with its owner
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
		return "waiting for the deletion of " + strings.Join(left, ", "), nil
	})
	return removed, err
}

// kept returns the objects that stay after the removal.
func (d *Deprovisioner) kept(ctx context.Context, o Options) ([]string, error) {
	var kept []string
	for _, kind := range d.kinds() {
		objects, err := kind.list(ctx)
		if err != nil {
			return nil, err
		}
		for _, object := range objects {
			if o.removes(kind.name, object) && kind.name != kindClaim {
				return nil, errclass.Errorf(errclass.Permanent,
					"checking that nothing is left: %s %s was created meanwhile; submit deprovision again", kind.name,
					object.Name)
			}
			kept = append(kept, kind.name+" "+object.Name)
		}
	}
	if d.Store().Kind == config.StoreExternal {
		kept = append(kept, "the external database")
	}
	return kept, nil
}
