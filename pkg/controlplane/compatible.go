package controlplane

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// checkCompatible compares the documents with what the namespace holds, before anything is touched. previous is what
// the cluster was created with, nil when it has no keys. Its errors have class errclass.Configuration.
//
//	keys  StatefulSet  volume  what happens
//	no    no           no      goes on, unless an object of a name that provisioning sets is somebody else's
//	no    yes          –       refused: somebody removed the keys of a control plane
//	no    no           yes     refused: new keys do not fit its state
//	yes   no           –       goes on, with the identity that it was created with
//	yes   yes          –       the same, and with the members, the volume and the version that can follow
func (p *Provisioner) checkCompatible(ctx context.Context, previous *config.Identity) error {
	if previous != nil {
		if err := p.Cluster.CheckImmutable(*previous); err != nil {
			return err
		}
	}
	stand, err := p.standingSets(ctx)
	switch {
	case err != nil:
		return err
	case previous != nil:
		return p.checkFollows(ctx, stand)
	}
	if err := p.checkKeysOf(stand); err != nil {
		return err
	}
	if err := p.checkNothingLeft(ctx); err != nil {
		return err
	}
	return p.checkNoStrangers(ctx)
}

// sets are the StatefulSets of a control plane that stands; nil where there is none.
type sets struct{ controlPlane, etcd *appsv1.StatefulSet }

func (p *Provisioner) standingSets(ctx context.Context) (sets, error) {
	list, err := p.Host.AppsV1().StatefulSets(p.namespace()).List(ctx, metav1.ListOptions{LabelSelector: p.ofCluster()})
	if err != nil {
		return sets{}, fmt.Errorf("listing StatefulSets: %w", apply.Classify(err))
	}
	var stand sets
	for i := range list.Items {
		switch set := &list.Items[i]; set.Name {
		case p.names().controlPlane():
			stand.controlPlane = set
		case p.names().etcd():
			stand.etcd = set
		}
	}
	return stand, nil
}

// checkKeysOf refuses to make new keys for a control plane that stands: its machines and accounts would not know it.
func (p *Provisioner) checkKeysOf(stand sets) error {
	for _, set := range []*appsv1.StatefulSet{stand.controlPlane, stand.etcd} {
		if set != nil {
			return errclass.Errorf(errclass.Configuration, "there is a control plane (StatefulSet %q) whose keys are "+
				"gone, and new ones would be another cluster's: put Secret %q back from a copy, or submit "+
				"deprovision with machines=keep for its machines to wait and finalBackup=false, since there are no "+
				"keys to put into an archive, and then restore", set.Name, p.names().pki())
		}
	}
	return nil
}

// checkNothingLeft refuses to make new keys beside the state of an earlier control plane: its pods would come up with
// objects of a cluster whose machines and accounts they do not know.
func (p *Provisioner) checkNothingLeft(ctx context.Context) error {
	left, err := p.stateVolumes(ctx)
	if err != nil || len(left) == 0 {
		return err
	}
	return errclass.Errorf(errclass.Configuration, "PersistentVolumeClaim %s holds the state of an earlier control "+
		"plane of this name, whose keys are gone: submit restore to have that cluster again, or delete the claim for "+
		"a new one", strings.Join(left, ", "))
}

// checkFollows says whether the documents can follow what stands. It names all that can't at once.
func (p *Provisioner) checkFollows(ctx context.Context, stand sets) error {
	var problems config.Problems
	add := func(key, suggestion, text string, args ...any) {
		problems = append(problems, config.Problem{Document: config.VClusterDocument, Key: key,
			Text: fmt.Sprintf(text, args...), Suggestion: suggestion})
	}
	p.compareMembers(stand.etcd, add)
	if err := p.compareVolume(ctx, stand.controlPlane, add); err != nil {
		return err
	}
	if err := p.compareVersion(ctx, stand.controlPlane, add); err != nil {
		return err
	}
	if len(problems) == 0 {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "comparing cluster %q with its control plane that stands: %w",
		p.Cluster.Name, problems)
}

// adder notes a problem with a key of vcluster.yaml.
type adder func(key, suggestion, text string, args ...any)

// compareMembers refuses another number of etcd's members. Pods alone make none: a third member that founds a cluster
// of three beside the one that is there has no majority, or an empty one.
func (p *Provisioner) compareMembers(set *appsv1.StatefulSet, add adder) {
	if set == nil || p.Cluster.Store().Kind != config.StoreEtcd {
		return
	}
	wanted, founded := p.Cluster.Store().Replicas, membersOf(set)
	if founded != 0 && wanted != founded {
		add("controlPlane.backingStore.etcd.deploy.statefulSet.highAvailability.replicas",
			"set it back, or move the state: submit backup, deprovision with machines=keep, change it, submit "+
				"restore with replaceVolumes=true",
			"is %d, and the cluster's etcd was founded with %d: members that are added or taken away would split it "+
				"or stop it", wanted, founded)
	}
}

const initialCluster = "--initial-cluster="

// membersOf is how many members an etcd was founded with; 0 when nothing says it. Its pods say it better than the
// number of replicas, which somebody may have set to 0 for a while.
func membersOf(set *appsv1.StatefulSet) int {
	for _, container := range set.Spec.Template.Spec.Containers {
		for _, arg := range container.Args {
			if members, is := strings.CutPrefix(arg, initialCluster); is {
				return strings.Count(members, ",") + 1
			}
		}
	}
	if set.Spec.Replicas != nil {
		return int(*set.Spec.Replicas)
	}
	return 0
}

// compareVolume refuses to move SQLite's state from a claim into a pod or the other way: the new pod would have none. A
// claim that never got a volume holds no state: where there is no class for it, the documents may do without.
func (p *Provisioner) compareVolume(ctx context.Context, set *appsv1.StatefulSet, add adder) error {
	if set == nil || p.Cluster.Store().Kind != config.StoreSQLite {
		return nil
	}
	const key, setBack = "controlPlane.statefulSet.persistence.volumeClaim.enabled",
		"set it back, or deprovision the cluster and provision it anew"
	for _, volume := range set.Spec.Template.Spec.Volumes {
		switch claimed := volume.PersistentVolumeClaim != nil; {
		case volume.Name != volumeData || claimed == p.persists():
		case claimed:
			name := volume.PersistentVolumeClaim.ClaimName
			claim, err := p.Host.CoreV1().PersistentVolumeClaims(p.namespace()).Get(ctx, name, metav1.GetOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("reading PersistentVolumeClaim %q: %w", name, apply.Classify(err))
			}
			if err == nil && claim.Status.Phase == corev1.ClaimPending {
				return nil
			}
			add(key, setBack, "is off, and the cluster's state is on PersistentVolumeClaim %s: without it the "+
				"cluster would begin empty", name)
		default:
			add(key, setBack, "is on, and the cluster's state is in its pod alone: on a new volume the cluster would "+
				"begin empty")
		}
	}
	return nil
}
