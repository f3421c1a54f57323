package apply

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"argosy.dev/argosy/pkg/errclass"
)

// mostConflicts bounds how often one object is tried with fewer fields. All conflicts are reported at once, so a second
// round means that somebody else writes the object right now.
const mostConflicts = 4

// target is an object that should be set, and what was there.
type target struct {
	object *unstructured.Unstructured
	// nil when the API server does not know the kind, which may come with its definition
	resource dynamic.ResourceInterface
	before   *unstructured.Unstructured // nil when it was not there
}

// look finds out what is there of all objects, in few round trips, so that setting them costs one for each rank.
func (s *Setter) look(ctx context.Context,
	objects []*unstructured.Unstructured) (map[*unstructured.Unstructured]*target, error) {
	found := make(map[*unstructured.Unstructured]*target, len(objects))
	for _, object := range objects {
		found[object] = &target{object: object}
	}
	_, err := each(ctx, "looking at", objects, func(ctx context.Context, object *unstructured.Unstructured) (*Change,
		error) {
		err := s.lookAt(ctx, found[object])
		if meta.IsNoMatchError(err) {
			err = nil
		}
		return nil, err
	})
	return found, err
}

func (s *Setter) lookAt(ctx context.Context, t *target) (err error) {
	if t.resource, err = s.resource(t.object); err != nil {
		return err
	}
	t.before, err = t.resource.Get(ctx, t.object.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		t.before, err = nil, nil
	}
	return Classify(err)
}

// set makes one object as wanted.
func (s *Setter) set(ctx context.Context, t *target, o Options) (*Change, error) {
	if t.resource == nil {
		if err := s.lookAt(ctx, t); err != nil {
			return nil, err
		}
	}
	if t.before != nil && t.before.GetDeletionTimestamp() != nil {
		return nil, errclass.With(errclass.Transient, ending(t.before))
	}
	after, left, err := patch(ctx, t.resource, t.object, o.Force)
	if err != nil {
		return nil, err
	}
	change := changeOf(t.object, outcome(t.before, after))
	change.LeftTo = left
	return change, nil
}

// ending says that an object is on its way out, and what holds it up.
func ending(object *unstructured.Unstructured) error {
	if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		return fmt.Errorf("it is being deleted, which waits for the finalizers %q; it can be made anew after that",
			finalizers)
	}
	return errors.New("it is being deleted; it can be made anew after that")
}

// patch applies object without the fields that others own, and returns what the object is now and what was left to
// whom.
func patch(ctx context.Context, resource dynamic.ResourceInterface, object *unstructured.Unstructured,
	force bool) (after *unstructured.Unstructured, left []string, err error) {
	wanted := object.DeepCopy()
	label(wanted)
	for range mostConflicts {
		after, err = resource.Apply(ctx, wanted.GetName(), wanted,
			metav1.ApplyOptions{FieldManager: Manager, Force: force})
		conflicts := conflictsOf(err)
		if len(conflicts) == 0 {
			return after, left, Classify(err)
		}
		for _, conflict := range conflicts {
			if !drop(wanted, conflict.field) {
				return nil, nil, errclass.Errorf(errclass.Permanent, "leaving %s to %s: %w", conflict.field,
					conflict.owner, err)
			}
			left = append(left, conflict.String())
		}
	}
	return nil, nil, errclass.Errorf(errclass.Transient, "others keep changing it: %w", err)
}

// label marks what Argosy made. An object that says that somebody else manages it keeps that: it is a conflict like
// others.
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
	case before.GetResourceVersion() == after.GetResourceVersion(),
		equality.Semantic.DeepEqual(ours(before), ours(after)):
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
