package apply

import (
	"context"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Remove deletes the objects that exist with Argosy's label, in the reverse of the order in which they are set. Only
// kind, namespace and name of objects count. Their dependents are deleted in the background: a node that is away would
// otherwise keep its pods' owner for ever. A CustomResourceDefinition is kept while users have objects of it, and a
// Namespace while there is any object of users in it.
func (s *Setter) Remove(ctx context.Context, objects []*unstructured.Unstructured) ([]Change, error) {
	r := &removal{Setter: s, inhabited: map[string][]string{}}
	var changes []Change
	for _, rank := range slices.Backward(ranked(objects)) {
		removed, err := each(ctx, "removing", rank, r.remove)
		changes = append(changes, removed...)
		if err != nil {
			return changes, err
		}
	}
	return changes, nil
}

// removal is one call of Remove.
type removal struct {
	*Setter
	mu sync.Mutex
	// inhabited are the users' objects, by Namespace, of definitions that are kept.
	inhabited map[string][]string
}

// remove deletes one object; nil when it does not exist or is not Argosy's.
func (r *removal) remove(ctx context.Context, object *unstructured.Unstructured) (*Change, error) {
	resource, err := r.resource(object)
	if meta.IsNoMatchError(err) {
		return nil, nil // its definition is gone, and with it all objects
	}
	if err != nil {
		return nil, err
	}
	live, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, Classify(err)
	}
	if live.GetLabels()[ManagedByLabel] != Manager || live.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	if kept, err := r.keep(ctx, live); kept != nil || err != nil {
		return kept, err
	}
	background, uid := metav1.DeletePropagationBackground, live.GetUID()
	err = resource.Delete(ctx, live.GetName(), metav1.DeleteOptions{
		PropagationPolicy: &background,
		Preconditions:     &metav1.Preconditions{UID: &uid}, // not one that was created in its place meanwhile
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, Classify(err)
	}
	return changeOf(object, Removed), nil
}

// keep returns a Change when users' objects would be deleted with a definition or a Namespace.
func (r *removal) keep(ctx context.Context, live *unstructured.Unstructured) (*Change, error) {
	var theirs []string
	switch live.GetKind() {
	case definitionKind:
		var err error
		if theirs, err = r.users(ctx, live); err != nil {
			return nil, err
		}
	case "Namespace":
		if theirs = r.inhabited[live.GetName()]; len(theirs) == 0 { // complete: definitions are a rank of their own
			var err error
			if theirs, err = r.inNamespace(ctx, live.GetName()); err != nil {
				return nil, err
			}
		}
	}
	if len(theirs) == 0 {
		return nil, nil
	}
	change := changeOf(live, Kept)
	change.LeftTo = theirs[:min(len(theirs), maxNames)]
	return change, nil
}

// users returns the objects of a definition that others made, and notes their Namespaces. An object with an owner does
// not count: it is deleted with its owner.
func (r *removal) users(ctx context.Context, definition *unstructured.Unstructured) ([]string, error) {
	mapping, err := r.mapper.RESTMapping(definedBy(definition))
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, Classify(err)
	}
	list, err := r.client.Resource(mapping.Resource).List(ctx,
		metav1.ListOptions{LabelSelector: ManagedByLabel + "!=" + Manager})
	if err != nil {
		return nil, Classify(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var theirs []string
	for i := range list.Items {
		item := &list.Items[i]
		if len(item.GetOwnerReferences()) > 0 {
			continue
		}
		text := fmt.Sprintf("%s is not Argosy's", nameOf(item))
		theirs = append(theirs, text)
		r.inhabited[item.GetNamespace()] = append(r.inhabited[item.GetNamespace()], text)
	}
	return theirs, nil
}
