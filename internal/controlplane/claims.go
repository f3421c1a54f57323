package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// stateClaims are the volumes of the store as the documents describe them.
type stateClaims struct {
	// key of the documents' section.
	key    string
	wanted config.VolumeClaim
	names  []string
}

// stateClaims returns the volumes of the store; without names where it has none.
func (p *Provisioner) stateClaims() stateClaims {
	switch p.Store().Kind {
	case config.StoreEtcd:
		claims := stateClaims{
			key: "controlPlane.backingStore.etcd.deploy.statefulSet.persistence.volumeClaim",
			wanted: p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Persistence.
				VolumeClaim,
		}
		if claims.wanted.On() {
			claims.names = p.etcdClaims()
		}
		return claims
	case config.StoreSQLite:
		claims := stateClaims{
			key:    "controlPlane.statefulSet.persistence.volumeClaim",
			wanted: p.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim,
		}
		if claims.wanted.On() {
			claims.names = []string{p.Names().Data()}
		}
		return claims
	}
	return stateClaims{}
}

// etcdClaims returns the names that a StatefulSet gives to the claims of etcd's members.
func (p *Provisioner) etcdClaims() []string {
	var names []string
	for i := range p.Store().Replicas {
		names = append(names, fmt.Sprintf("%s-%s-%d", volumeData, p.Names().Etcd(), i))
	}
	return names
}

// compareClaims refuses changes that volumes of the store cannot take: another class, other access modes, a smaller
// size, and a larger one that the host cluster refuses, which is asked by a dry run.
func (p *Provisioner) compareClaims(ctx context.Context, add adder) error {
	state := p.stateClaims()
	for _, name := range state.names {
		held, err := p.Host.CoreV1().PersistentVolumeClaims(p.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading PersistentVolumeClaim %q: %w", name, apply.Classify(err))
		}
		if differs, err := p.compareClaim(ctx, held, state, add); err != nil || differs {
			return err // one problem for all members
		}
	}
	return nil
}

// compareClaim adds the problems of one claim and reports whether there are any.
func (p *Provisioner) compareClaim(ctx context.Context, held *corev1.PersistentVolumeClaim, state stateClaims,
	add adder,
) (bool, error) {
	const instead = "set it back, or move the state to new volumes: submit deprovision with machines=keep, change " +
		"it, submit restore with replaceVolumes=true"
	wanted, differs := state.wanted, false
	if class := held.Spec.StorageClassName; wanted.StorageClass != "" && class != nil &&
		wanted.StorageClass != *class {
		differs = true
		add(state.key+".storageClass", instead, "is %s, and PersistentVolumeClaim %s has %s: a volume stays in its "+
			"class", wanted.StorageClass, held.Name, *class)
	}
	if modes := accessModes(held); len(modes) > 0 && !slices.Equal(wanted.AccessModes, modes) {
		differs = true
		add(state.key+".accessModes", instead, "is %s, and PersistentVolumeClaim %s has %s: a volume keeps them",
			strings.Join(wanted.AccessModes, ", "), held.Name, strings.Join(modes, ", "))
	}
	size, err := resource.ParseQuantity(wanted.Size)
	if err != nil {
		return true, errclass.Errorf(errclass.Configuration, "reading the size %q of volume %q: %w", wanted.Size,
			held.Name, err)
	}
	has := held.Spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case has.IsZero() || size.Equal(has):
	case size.Cmp(has) < 0:
		differs = true
		add(state.key+".size", fmt.Sprintf("write %s or more", &has), "is %s, and PersistentVolumeClaim %s has %s: a "+
			"volume does not shrink", wanted.Size, held.Name, &has)
	default:
		err := p.grow(ctx, held.Name, size, metav1.DryRunAll)
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) {
			add(state.key+".size", fmt.Sprintf("set it back to %s, set allowVolumeExpansion in the StorageClass, or "+
				"move the state: submit deprovision with machines=keep, change it, submit restore with "+
				"replaceVolumes=true", &has), "is %s, and the host cluster does not let PersistentVolumeClaim %s "+
				"grow: %v",
				wanted.Size, held.Name, err)
			return true, nil
		}
		return differs, apply.Classify(err)
	}
	return differs, nil
}

func accessModes(claim *corev1.PersistentVolumeClaim) []string {
	var modes []string
	for _, mode := range claim.Spec.AccessModes {
		modes = append(modes, string(mode))
	}
	return modes
}

// grow sets the size of a claim; options are those of a dry run, or none.
func (p *Provisioner) grow(ctx context.Context, claim string, size resource.Quantity, dryRun ...string) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": map[string]any{
		"requests": map[string]any{string(corev1.ResourceStorage): size.String()},
	}}})
	if err != nil {
		return fmt.Errorf("encoding the size of a volume: %w", err)
	}
	_, err = p.Host.CoreV1().PersistentVolumeClaims(p.Namespace).Patch(ctx, claim, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: apply.Manager, DryRun: dryRun})
	return err //nolint:wrapcheck // Its callers name the claim and classify it.
}

// growMembers has the volumes of etcd's members grow to the documents' size: the template of a StatefulSet does not
// change, so each claim is changed. A member whose volume is replaced begins with the template's size, and grows in the
// next run.
func (p *Provisioner) growMembers(ctx context.Context) ([]apply.Change, error) {
	var changes []apply.Change
	state := p.stateClaims()
	for _, name := range state.names {
		held, err := p.Host.CoreV1().PersistentVolumeClaims(p.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return changes, fmt.Errorf("reading PersistentVolumeClaim %q: %w", name, apply.Classify(err))
		}
		size, err := resource.ParseQuantity(state.wanted.Size)
		if err != nil {
			return changes, errclass.Errorf(errclass.Configuration, "reading the size %q of volume %q: %w",
				state.wanted.Size, name, err)
		}
		if has := held.Spec.Resources.Requests[corev1.ResourceStorage]; has.IsZero() || size.Cmp(has) <= 0 {
			continue
		}
		if err := p.grow(ctx, name, size); err != nil {
			return changes, fmt.Errorf("growing PersistentVolumeClaim %q to %s: %w", name, &size, apply.Classify(err))
		}
		changes = append(changes, apply.Change{
			Kind: "PersistentVolumeClaim", Namespace: p.Namespace, Name: name, Outcome: apply.Changed,
		})
	}
	return changes, nil
}

// keepTemplates gives the templates of the members' volumes the class, the access modes and the size of those that the
// StatefulSet was made with.
func keepTemplates(set *appsv1.StatefulSet, held []corev1.PersistentVolumeClaim) {
	for i := range set.Spec.VolumeClaimTemplates {
		template := &set.Spec.VolumeClaimTemplates[i]
		for _, was := range held {
			if was.Name == template.Name {
				template.Spec.AccessModes, template.Spec.Resources = was.Spec.AccessModes, was.Spec.Resources
				template.Spec.StorageClassName = was.Spec.StorageClassName
			}
		}
	}
}

// compareFixed refuses changes of fields that a StatefulSet keeps from its creation: the order in which pods start, and
// whether etcd's members have volumes.
func (p *Provisioner) compareFixed(held sets, add adder) {
	const instead = "set it back, or submit deprovision with machines=keep, change it, submit restore with " +
		"replaceVolumes=true"
	order := func(key string, set *appsv1.StatefulSet, wanted string) {
		if set == nil || wanted == "" || set.Spec.PodManagementPolicy == "" ||
			string(set.Spec.PodManagementPolicy) == wanted {
			return
		}
		add(key+".scheduling.podManagementPolicy", instead, "is %s, and StatefulSet %s was made with %s", wanted,
			set.Name, set.Spec.PodManagementPolicy)
	}
	order("controlPlane.statefulSet", held.controlPlane,
		p.VCluster.ControlPlane.StatefulSet.Scheduling.PodManagementPolicy)
	if held.etcd == nil || p.Store().Kind != config.StoreEtcd {
		return
	}
	etcd := p.VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet
	order("controlPlane.backingStore.etcd.deploy.statefulSet", held.etcd, etcd.Scheduling.PodManagementPolicy)
	const key = "controlPlane.backingStore.etcd.deploy.statefulSet.persistence.volumeClaim.enabled"
	switch claims := len(held.etcd.Spec.VolumeClaimTemplates) > 0; {
	case claims == etcd.Persistence.VolumeClaim.On():
	case claims:
		add(key, instead, "is off, and etcd's state is on PersistentVolumeClaims: without them the members would "+
			"begin empty")
	default:
		add(key, instead, "is on, and etcd's state is in its pods alone: on new volumes the members would begin empty")
	}
}
