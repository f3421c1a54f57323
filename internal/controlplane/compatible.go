package controlplane

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// checkCompatible compares the documents with the objects in the namespace, before anything is touched. previous is the
// identity that the cluster was created with, nil when it has no keys. Its errors have class errclass.Configuration.
//
//	keys  StatefulSet  volume  result
//	no    no           no      allowed, unless an object with a name that provisioning sets is not Argosy's
//	no    yes          –       refused: the keys of a control plane were removed
//	no    no           yes     refused: new keys do not fit its state
//	yes   no           –       allowed with the identity that it was created with
//	yes   yes          –       the same, and with members, volumes and version that the running ones can change to
func (p *Provisioner) checkCompatible(ctx context.Context, previous *config.Identity) error {
	if previous != nil {
		if err := p.CheckImmutable(*previous); err != nil {
			return err
		}
	}
	held, err := p.existingSets(ctx)
	switch {
	case err != nil:
		return err
	case previous != nil:
		return p.checkChange(ctx, held)
	}
	if err := p.checkNoSets(held); err != nil {
		return err
	}
	if err := p.checkNoState(ctx); err != nil {
		return err
	}
	return p.checkOwnership(ctx)
}

// CheckRoom refuses a namespace in which no control plane may be restored: one with a control plane that has lost its
// keys, or with objects of its names that Argosy did not make.
func (p *Provisioner) CheckRoom(ctx context.Context) error {
	held, err := p.existingSets(ctx)
	if err != nil {
		return err
	}
	if err := p.checkNoSets(held); err != nil {
		return err
	}
	return p.checkOwnership(ctx)
}

// sets are the StatefulSets of a control plane that exists; nil where there is none.
type sets struct{ controlPlane, etcd *appsv1.StatefulSet }

func (p *Provisioner) existingSets(ctx context.Context) (sets, error) {
	list, err := p.Host.AppsV1().StatefulSets(p.Namespace).List(ctx, metav1.ListOptions{LabelSelector: p.Owned()})
	if err != nil {
		return sets{}, fmt.Errorf("listing StatefulSets: %w", apply.Classify(err))
	}
	var held sets
	for i := range list.Items {
		switch set := &list.Items[i]; set.Name {
		case p.Names().ControlPlane():
			held.controlPlane = set
		case p.Names().Etcd():
			held.etcd = set
		}
	}
	return held, nil
}

// checkNoSets refuses to make new keys for a control plane that exists: its machines and accounts would not trust them.
func (p *Provisioner) checkNoSets(held sets) error {
	for _, set := range []*appsv1.StatefulSet{held.controlPlane, held.etcd} {
		if set != nil {
			return errclass.Errorf(errclass.Configuration, "there is a control plane (StatefulSet %q) whose keys are "+
				"gone, and new ones would be another cluster's: restore Secret %q from a copy, or submit "+
				"deprovision with machines=keep, for its machines to wait, and finalBackup=false, since there are no "+
				"keys to put into an archive, and then restore", set.Name, p.Names().PKI())
		}
	}
	return nil
}

// checkNoState refuses to make new keys beside the state of an earlier control plane: the pods would come up with
// objects of a cluster whose machines and accounts they do not trust.
func (p *Provisioner) checkNoState(ctx context.Context) error {
	left, err := p.StateVolumes(ctx)
	if err != nil || len(left) == 0 {
		return err
	}
	return errclass.Errorf(errclass.Configuration, "PersistentVolumeClaim %s holds the state of an earlier control "+
		"plane of this name, whose keys are gone: submit restore to have that cluster again, or delete the claim for "+
		"a new one", strings.Join(left, ", "))
}

// checkChange refuses documents that a control plane which exists can't be changed to. Its error lists all problems.
func (p *Provisioner) checkChange(ctx context.Context, held sets) error {
	var problems config.Problems
	add := func(key, suggestion, text string, args ...any) {
		problems = append(problems, config.Problem{
			Document: config.VClusterDocument, Key: key,
			Text: fmt.Sprintf(text, args...), Suggestion: suggestion,
		})
	}
	p.compareMembers(held.etcd, add)
	p.compareEtcdImage(held.etcd, add)
	p.compareFixed(held, add)
	if err := p.compareClaims(ctx, add); err != nil {
		return err
	}
	if err := p.compareVolume(ctx, held.controlPlane, add); err != nil {
		return err
	}
	if err := p.compareVersion(ctx, held.controlPlane, add); err != nil {
		return err
	}
	if len(problems) == 0 {
		return nil
	}
	return errclass.Errorf(errclass.Configuration, "comparing the documents of cluster %q with its control plane: %w",
		p.Name, problems)
}

// adder notes a problem with a key of vcluster.yaml.
type adder func(key, suggestion, text string, args ...any)

// compareMembers refuses another number of etcd's members. More pods are not more members: a third one that founds a
// cluster of three beside the existing one has no majority, or an empty one.
func (p *Provisioner) compareMembers(set *appsv1.StatefulSet, add adder) {
	if set == nil || p.Store().Kind != config.StoreEtcd {
		return
	}
	wanted, founded := p.Store().Replicas, membersOf(set)
	if founded != 0 && wanted != founded {
		add("controlPlane.backingStore.etcd.deploy.statefulSet.highAvailability.replicas",
			"set it back, or move the state: submit backup, deprovision with machines=keep, change it, submit "+
				"restore with replaceVolumes=true",
			"is %d, and the cluster's etcd was founded with %d: adding or removing members would split it or stop "+
				"it", wanted, founded)
	}
}

const initialCluster = "--initial-cluster="

// membersOf returns the number of members that an etcd was founded with; 0 when it is unknown. The arguments of its
// pods come before the number of replicas, which may have been set to 0 for a while.
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
// claim that never got a volume holds no state, so where there is no class for it the documents may turn it off.
func (p *Provisioner) compareVolume(ctx context.Context, set *appsv1.StatefulSet, add adder) error {
	if set == nil || p.Store().Kind != config.StoreSQLite {
		return nil
	}
	const key, setBack = "controlPlane.statefulSet.persistence.volumeClaim.enabled",
		"set it back, or deprovision the cluster and provision it anew"
	for _, volume := range set.Spec.Template.Spec.Volumes {
		switch claimed := volume.PersistentVolumeClaim != nil; {
		case volume.Name != volumeData || claimed == p.Persists():
		case claimed:
			name := volume.PersistentVolumeClaim.ClaimName
			claim, err := p.Host.CoreV1().PersistentVolumeClaims(p.Namespace).Get(ctx, name, metav1.GetOptions{})
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
