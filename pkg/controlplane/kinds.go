package controlplane

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"argosy.dev/argosy/pkg/apply"
)

// Kinds of what a control plane consists of.
const (
	kindStatefulSet = "StatefulSet"
	kindJob         = "Job"
	kindPod         = "Pod"
	kindClaim       = "PersistentVolumeClaim"
	kindSecret      = "Secret"
)

// kind finds and removes a cluster's objects of one kind. They are those with the cluster's label and Argosy's: a label
// of the cluster alone may be the user's way to sort their own.
type kind struct {
	name   string
	list   func(ctx context.Context) ([]metav1.ObjectMeta, error)
	remove func(ctx context.Context, object metav1.ObjectMeta) error
}

// ofCluster selects what Argosy made of this cluster.
func (p *Provisioner) ofCluster() string {
	return labels.SelectorFromSet(labels.Set{apply.ManagedByLabel: apply.Manager,
		ClusterLabel: p.Cluster.Name}).String()
}

// kinds are all that a namespace may hold of a cluster.
func (p *Provisioner) kinds() []kind {
	core, namespace := p.Host.CoreV1(), p.namespace()
	return []kind{
		kindOf(p, kindStatefulSet, p.Host.AppsV1().StatefulSets(namespace)),
		kindOf(p, kindJob, p.Host.BatchV1().Jobs(namespace)),
		kindOf(p, kindPod, core.Pods(namespace)),
		kindOf(p, "PodDisruptionBudget", p.Host.PolicyV1().PodDisruptionBudgets(namespace)),
		kindOf(p, "Service", core.Services(namespace)),
		kindOf(p, "ConfigMap", core.ConfigMaps(namespace)),
		kindOf(p, kindClaim, core.PersistentVolumeClaims(namespace)),
		kindOf(p, kindSecret, core.Secrets(namespace)),
	}
}

// typed is a client of one kind in one namespace.
type typed[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}

func kindOf[L runtime.Object](p *Provisioner, name string, client typed[L]) kind {
	return kind{
		name: name,
		list: func(ctx context.Context) ([]metav1.ObjectMeta, error) {
			held, err := client.List(ctx, metav1.ListOptions{LabelSelector: p.ofCluster()})
			if err != nil {
				return nil, fmt.Errorf("listing objects of kind %s: %w", name, apply.Classify(err))
			}
			var found []metav1.ObjectMeta
			err = meta.EachListItem(held, func(object runtime.Object) error {
				accessor, err := meta.Accessor(object)
				if err != nil {
					return err
				}
				found = append(found, metav1.ObjectMeta{
					Name: accessor.GetName(), UID: accessor.GetUID(), Labels: accessor.GetLabels(),
					DeletionTimestamp: accessor.GetDeletionTimestamp(),
				})
				return nil
			})
			return found, err
		},
		remove: func(ctx context.Context, object metav1.ObjectMeta) error {
			background := metav1.DeletePropagationBackground
			err := client.Delete(ctx, object.Name, metav1.DeleteOptions{
				// not one made in its place just now
				PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &object.UID},
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("removing %s %q: %w", name, object.Name, apply.Classify(err))
			}
			return nil
		},
	}
}
