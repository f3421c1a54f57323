package apply

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"argosy.dev/argosy/pkg/fault"
)

// mostConflicts bounds how often one object is tried with fewer fields. All conflicts are reported at once, so a second
// round means that somebody else writes the object right now.
const mostConflicts = 4

// set makes one object as wanted.
func (s *Setter) set(ctx context.Context, object *unstructured.Unstructured, o Options) (*Change, error) {
	resource, err := s.resource(object)
	if err != nil {
		return nil, err
	}
	before, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		before = nil
	case err != nil:
		return nil, Classify(err)
	case before.GetDeletionTimestamp() != nil:
		return nil, fault.As(fault.Transient, ending(before))
	}
	after, left, err := patch(ctx, resource, object, o.Force)
	if err != nil {
		return nil, err
	}
	change := changeOf(object, outcome(before, after))
	change.LeftTo = left
	return change, nil
}

// ending says that an object is on its way out, and what holds it up.
func ending(object *unstructured.Unstructured) error {
	if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		return fmt.Errorf("it is being deleted, which waits for the finalizers %q; it can be made anew after that", finalizers)
	}
	return errors.New("it is being deleted; it can be made anew after that")
}

// patch applies object without the fields that others own, and returns what the object is now and what was left to whom.
func patch(ctx context.Context, resource dynamic.ResourceInterface, object *unstructured.Unstructured, force bool) (after *unstructured.Unstructured, left []string, err error) {
	wanted := object.DeepCopy()
	label(wanted)
	for range mostConflicts {
		after, err = resource.Apply(ctx, wanted.GetName(), wanted, metav1.ApplyOptions{FieldManager: Manager, Force: force})
		conflicts := conflictsOf(err)
		if len(conflicts) == 0 {
			return after, left, Classify(err)
		}
		for _, conflict := range conflicts {
			if !drop(wanted, conflict.field) {
				return nil, nil, fault.As(fault.Permanent, fmt.Errorf("leaving %s to %s: %w", conflict.field, conflict.owner, err))
			}
			left = append(left, conflict.String())
		}
	}
	return nil, nil, fault.As(fault.Transient, fmt.Errorf("others keep changing it: %w", err))
}

// label marks what Argosy made. An object that says that somebody else manages it keeps that: it is a conflict like others.
func label(object *unstructured.Unstructured) {
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[ManagedByLabel] = Manager
	object.SetLabels(labels)
}

// outcome compares an object before and after. The version alone would not do: a controller may have written the status
// in between.
func outcome(before, after *unstructured.Unstructured) Outcome {
	switch {
	case before == nil:
		return Created
	case before.GetResourceVersion() == after.GetResourceVersion(), equality.Semantic.DeepEqual(ours(before), ours(after)):
		return Unchanged
	}
	return Changed
}

// ours returns what a Set can change of an object: all but its status and book-keeping, and which fields Argosy owns.
func ours(object *unstructured.Unstructured) []any {
	var owned string
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == Manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.FieldsV1 != nil {
			owned = string(entry.FieldsV1.Raw)
		}
	}
	content := object.DeepCopy()
	delete(content.Object, "status")
	for _, field := range []string{"resourceVersion", "generation", "managedFields"} {
		unstructured.RemoveNestedField(content.Object, "metadata", field)
	}
	return []any{owned, content.Object}
}

// statusOf returns the API server's answer in err, if it is one.
func statusOf(err error) (metav1.Status, bool) {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return metav1.Status{}, false
	}
	return answer.Status(), true
}
