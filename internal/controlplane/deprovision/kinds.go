package deprovision

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/internal/controlplane/hosted"
)

// Kinds of the objects of a control plane.
const (
	kindStatefulSet = "StatefulSet"
	kindJob         = "Job"
	kindPod         = "Pod"
	kindClaim       = "PersistentVolumeClaim"
	kindSecret      = "Secret"
)

// kind lists and removes a cluster's objects of one kind: those that carry both the cluster's label and Argosy's. Users
// may put the cluster's label on objects of their own.
type kind struct {
	name   string
	list   func(ctx context.Context) ([]metav1.ObjectMeta, error)
	remove func(ctx context.Context, object metav1.ObjectMeta) error
}

// kinds returns all kinds of objects that a cluster has in its namespace.
func (d *Deprovisioner) kinds() []kind {
	core, namespace := d.Host.CoreV1(), d.Namespace
	return []kind{
		kindOf(d.Cluster, kindStatefulSet, d.Host.AppsV1().StatefulSets(namespace)),
		kindOf(d.Cluster, kindJob, d.Host.BatchV1().Jobs(namespace)),
		kindOf(d.Cluster, kindPod, core.Pods(namespace)),
		kindOf(d.Cluster, "PodDisruptionBudget", d.Host.PolicyV1().PodDisruptionBudgets(namespace)),
		d.networkPolicies(),
		kindOf(d.Cluster, "Service", core.Services(namespace)),
		kindOf(d.Cluster, "ConfigMap", core.ConfigMaps(namespace)),
		kindOf(d.Cluster, kindClaim, core.PersistentVolumeClaims(namespace)),
		kindOf(d.Cluster, kindSecret, core.Secrets(namespace)),
	}
}

// typed is the client of one kind in one namespace.
type typed[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
}

// networkPolicies returns the kind NetworkPolicy. A role of an earlier release does not let the plugin list them: then
// there are none, unless the documents want them.
func (d *Deprovisioner) networkPolicies() kind {
	all := kindOf(d.Cluster, "NetworkPolicy", d.Host.NetworkingV1().NetworkPolicies(d.Namespace))
	list := all.list
	all.list = func(ctx context.Context) ([]metav1.ObjectMeta, error) {
		found, err := list(ctx)
		if apierrors.IsForbidden(err) && !d.VCluster.Policies.NetworkPolicy.Enabled {
			return nil, nil
		}
		return found, err
	}
	return all
}

func kindOf[L runtime.Object](cluster hosted.Cluster, name string, client typed[L]) kind {
	return kind{
		name: name,
		list: func(ctx context.Context) ([]metav1.ObjectMeta, error) {
			held, err := client.List(ctx, metav1.ListOptions{LabelSelector: cluster.Owned()})
			if err != nil {
				return nil, fmt.Errorf("listing objects of kind %s: %w", name, apply.Classify(err))
			}
			var found []metav1.ObjectMeta
			err = meta.EachListItem(held, func(object runtime.Object) error {
				accessor, err := meta.Accessor(object)
				if err != nil {
					return err //nolint:wrapcheck // It is wrapped below.
				}
				found = append(found, metav1.ObjectMeta{
					Name: accessor.GetName(), UID: accessor.GetUID(), Labels: accessor.GetLabels(),
					DeletionTimestamp: accessor.GetDeletionTimestamp(),
				})
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("reading objects of kind %s: %w", name, err)
			}
			return found, nil
		},
		remove: func(ctx context.Context, object metav1.ObjectMeta) error {
			background := metav1.DeletePropagationBackground
			err := client.Delete(ctx, object.Name, metav1.DeleteOptions{
				// by UID, so that an object created in its place meanwhile is left alone
				PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &object.UID},
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("removing %s %q: %w", name, object.Name, apply.Classify(err))
			}
			return nil
		},
	}
}
