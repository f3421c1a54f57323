package apply

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	"argosy.dev/argosy/pkg/errclass"
)

const definitionKind = "CustomResourceDefinition"

// A definition is served within a second; API servers behind one address may take five more to agree.
const (
	definitionInterval = 50 * time.Millisecond
	definitionTimeout  = 30 * time.Second
)

// awaitDefinitions waits until objects of the CustomResourceDefinitions among objects can be set. Definitions that did
// not change are not waited for.
func (s *Setter) awaitDefinitions(ctx context.Context, objects []*unstructured.Unstructured, changes []Change) error {
	fresh := map[string]bool{}
	for _, change := range changes {
		fresh[change.Name] = change.Kind == definitionKind && change.Outcome != Unchanged
	}
	for _, object := range objects {
		if object.GetKind() != definitionKind || !fresh[object.GetName()] {
			continue
		}
		if err := s.awaitDefinition(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// awaitDefinition waits until the API server has accepted a definition and announces its kind, which are two things.
func (s *Setter) awaitDefinition(ctx context.Context, definition *unstructured.Unstructured) error {
	resource, err := s.resource(definition)
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", nameOf(definition), err)
	}
	last := "the API server was not asked"
	err = wait.PollUntilContextTimeout(ctx, definitionInterval, definitionTimeout, true,
		func(ctx context.Context) (bool, error) {
			live, err := resource.Get(ctx, definition.GetName(), metav1.GetOptions{})
			if err != nil {
				return false, Classify(err)
			}
			if last = condition(live, "Established"); last != "True" {
				return false, nil
			}
			meta.MaybeResetRESTMapper(s.mapper)
			if _, err = s.mapper.RESTMapping(definedBy(live)); err != nil {
				last = err.Error()
			}
			return err == nil, nil
		})
	switch {
	case ctx.Err() != nil:
		err = Classify(context.Cause(ctx))
	case wait.Interrupted(err):
		err = errclass.Errorf(errclass.Transient, "not established after %s: %s", definitionTimeout, last)
	}
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", nameOf(definition), err)
	}
	return nil
}

// condition returns the status of a condition, and its message when it is not True.
func condition(object *unstructured.Unstructured, kind string) string {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, each := range conditions {
		fields, _ := each.(map[string]any)
		if fields["type"] != kind {
			continue
		}
		if fields["status"] == "True" {
			return "True"
		}
		return fmt.Sprint(fields["status"], ": ", fields["message"])
	}
	return "no condition " + kind
}

// definedBy returns the kind that a definition defines.
func definedBy(definition *unstructured.Unstructured) schema.GroupKind {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}
}
