package apply

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// inNamespace returns the users' objects in a Namespace that is to be removed, some of each kind at least, sorted. A
// group of kinds that does not answer counts as one: its objects would be deleted with the Namespace.
func (s *Setter) inNamespace(ctx context.Context, namespace string) ([]string, error) {
	served, err := discovery.ServerPreferredNamespacedResources(s.discovery)
	failed, isPartial := discovery.GroupDiscoveryFailedErrorGroups(err)
	if err != nil && !isPartial {
		return nil, Classify(err)
	}
	var theirs []string
	for group := range failed {
		theirs = append(theirs, fmt.Sprintf("objects of %s cannot be listed", group))
	}
	var kinds []schema.GroupVersionResource
	for _, list := range discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, served) {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, Classify(err)
		}
		for _, resource := range list.APIResources {
			if !slices.Contains(byKubernetes(), resource.Kind) {
				kinds = append(kinds, version.WithResource(resource.Name))
			}
		}
	}
	found := make([][]string, len(kinds))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, kind := range kinds {
		group.Go(func() error {
			var err error
			found[i], err = s.ofUsers(ctx, kind, namespace)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	theirs = append(theirs, slices.Concat(found...)...)
	slices.Sort(theirs)
	return theirs, nil
}

// byKubernetes returns the kinds that controllers and leader elections write beside the objects which they are about,
// often without an owner. They hold nothing that a user would miss.
func byKubernetes() []string {
	return []string{"Event", "Lease", "Endpoints", "EndpointSlice", "ControllerRevision", "PodMetrics"}
}

// ofUsers returns objects of a kind in a Namespace that neither Argosy nor an object of the Namespace owns.
func (s *Setter) ofUsers(ctx context.Context, kind schema.GroupVersionResource, namespace string) ([]string, error) {
	list, err := s.client.Resource(kind).Namespace(namespace).List(ctx,
		metav1.ListOptions{LabelSelector: ManagedByLabel + "!=" + Manager})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil, nil // it ended with its definition
	}
	if err != nil {
		return nil, fmt.Errorf("listing the %s of namespace %q: %w", kind.Resource, namespace, Classify(err))
	}
	var theirs []string
	for i := range list.Items {
		item := &list.Items[i]
		if len(item.GetOwnerReferences()) == 0 && item.GetDeletionTimestamp() == nil &&
			!slices.Contains(ofEveryNamespace(), item.GetKind()+" "+item.GetName()) {
			theirs = append(theirs, fmt.Sprintf("%s is not Argosy's", nameOf(item)))
		}
	}
	return theirs, nil
}

// ofEveryNamespace returns the objects that Kubernetes makes in each Namespace.
func ofEveryNamespace() []string {
	return []string{"ConfigMap kube-root-ca.crt", "ServiceAccount default"}
}
