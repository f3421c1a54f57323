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

// maxAttempts bounds how often one object is applied with fewer fields. The API server reports all conflicts at once,
// so a second one means that another manager writes the object right now.
const maxAttempts = 4

// target is an object to be set, and the live one.
type target struct {
	object *unstructured.Unstructured
	// nil when the API server does not know the kind, which may come with a definition of an earlier rank
	resource dynamic.ResourceInterface
	before   *unstructured.Unstructured // nil when it did not exist
}

// readAll reads the live objects of all, several at once, so that setting them then costs one round trip for each rank.
func (s *Setter) readAll(ctx context.Context,
	objects []*unstructured.Unstructured,
) (map[*unstructured.Unstructured]*target, error) {
	found := make(map[*unstructured.Unstructured]*target, len(objects))
	for _, object := range objects {
		found[object] = &target{object: object}
	}
	_, err := each(ctx, "reading", objects, func(ctx context.Context, object *unstructured.Unstructured) (*Change,
		error,
	) {
		err := s.read(ctx, found[object])
		if meta.IsNoMatchError(err) {
			err = nil
		}
		return nil, err
	})
	return found, err
}

func (s *Setter) read(ctx context.Context, t *target) (err error) {
	if t.resource, err = s.resource(t.object); err != nil {
		return err
	}
	t.before, err = t.resource.Get(ctx, t.object.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		t.before, err = nil, nil
	}
	return Classify(err)
}

// set applies one object.
func (s *Setter) set(ctx context.Context, t *target, o Options) (*Change, error) {
	if t.resource == nil {
		if err := s.read(ctx, t); err != nil {
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

// ending returns the error of an object that is being deleted, with the finalizers that hold it up.
func ending(object *unstructured.Unstructured) error {
	if finalizers := object.GetFinalizers(); len(finalizers) > 0 {
		return fmt.Errorf("it is being deleted, which waits for the finalizers %q; it can be made anew after that",
			finalizers)
	}
	return errors.New("it is being deleted; it can be made anew after that")
}

// patch applies object without the fields that others own, and returns the live object and the fields that were left to
// their owners.
func patch(ctx context.Context, resource dynamic.ResourceInterface, object *unstructured.Unstructured,
	force bool,
) (after *unstructured.Unstructured, left []string, err error) {
	wanted := object.DeepCopy()
	label(wanted)
	for range maxAttempts {
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
	return nil, nil, errclass.Errorf(errclass.Transient, "other managers keep changing it: %w", err)
}

// label puts Argosy's label on an object. An object that another manager's label is on keeps that: it is a conflict
// like others.
func label(object *unstructured.Unstructured) {
	labels := object.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[ManagedByLabel] = Manager
	object.SetLabels(labels)
}

// outcome compares an object before and after. The resource version alone is not enough: a controller may have written
// the status in between.
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

// ours returns the parts of an object that Set can change: all but its status and bookkeeping, and the fields that
// Argosy owns.
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
