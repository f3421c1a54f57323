package apply

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Remove deletes objects that are there and carry Argosy's label, in the reverse of the order in which they are set. Only
// kind, namespace and name of objects count. What they own goes in the background: a node that is away would otherwise
// hold its pods' owner for ever. A CustomResourceDefinition is kept while there are objects of it that are not Argosy's.
func (s *Setter) Remove(ctx context.Context, objects []*unstructured.Unstructured) ([]Change, error) {
	var changes []Change
	for _, rank := range slices.Backward(ranked(objects)) {
		removed, err := each(ctx, "removing", rank, s.remove)
		changes = append(changes, removed...)
		if err != nil {
			return changes, err
		}
	}
	return changes, nil
}

// remove deletes one object; nil when it is not there or not Argosy's.
func (s *Setter) remove(ctx context.Context, object *unstructured.Unstructured) (*Change, error) {
	resource, err := s.resource(object)
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
	if live.GetKind() == definitionKind {
		if kept, err := s.keep(ctx, live); kept != nil || err != nil {
			return kept, err
		}
	}
	background, uid := metav1.DeletePropagationBackground, live.GetUID()
	err = resource.Delete(ctx, live.GetName(), metav1.DeleteOptions{
		PropagationPolicy: &background,
		Preconditions:     &metav1.Preconditions{UID: &uid}, // not one that somebody made in its place just now
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, Classify(err)
	}
	return changeOf(object, Removed), nil
}

// keep returns a Change when users' objects would go with a definition.
func (s *Setter) keep(ctx context.Context, definition *unstructured.Unstructured) (*Change, error) {
	mapping, err := s.mapper.RESTMapping(definedBy(definition))
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, Classify(err)
	}
	list, err := s.client.Resource(mapping.Resource).List(ctx, metav1.ListOptions{LabelSelector: ManagedByLabel + "!=" + Manager, Limit: mostNames})
	if err != nil {
		return nil, Classify(err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	change := changeOf(definition, Kept)
	for i := range list.Items {
		change.LeftTo = append(change.LeftTo, fmt.Sprintf("%s is not Argosy's", nameOf(&list.Items[i])))
	}
	return change, nil
}
