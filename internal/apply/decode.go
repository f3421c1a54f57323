package apply

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/errclass"
)

// Decode reads the objects of one or more YAML documents; a List counts as its items. Duplicate keys are errors.
// Errors have class errclass.Configuration.
func Decode(documents []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(documents)))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		var read []*unstructured.Unstructured
		if err == nil {
			read, err = decodeDocument(document)
		}
		if err != nil {
			return nil, errclass.Errorf(errclass.Configuration, "reading YAML document %d: %w", n, err)
		}
		objects = append(objects, read...)
	}
}

// decodeDocument returns the objects of one document.
//
//nolint:wrapcheck // Decode adds which document it is.
func decodeDocument(document []byte) ([]*unstructured.Unstructured, error) {
	content, err := yaml.YAMLToJSONStrict(document)
	if err != nil || string(content) == "null" {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(content); err != nil {
		return nil, err
	}
	if !object.IsList() {
		return []*unstructured.Unstructured{object}, checkNamed(object)
	}
	var items []*unstructured.Unstructured
	err = object.EachListItem(func(item runtime.Object) error {
		items = append(items, item.(*unstructured.Unstructured))
		return checkNamed(items[len(items)-1])
	})
	return items, err
}

// checkNamed requires the fields without which no object can be set.
func checkNamed(object *unstructured.Unstructured) error {
	if object.GetAPIVersion() == "" || object.GetKind() == "" || object.GetName() == "" {
		return fmt.Errorf("an object needs apiVersion, kind and metadata.name; this one has %q, %q and %q",
			object.GetAPIVersion(), object.GetKind(), object.GetName())
	}
	return nil
}

// From converts a typed object to one that can be set: with apiVersion and kind, and without fields that only the API
// server writes. The object's type must be one of Kubernetes' own.
func From(object runtime.Object) (*unstructured.Unstructured, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		return nil, fmt.Errorf("finding the kind of %T: %w", object, err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("converting %T: %w", object, err)
	}
	converted := &unstructured.Unstructured{Object: content}
	converted.SetGroupVersionKind(kinds[0])
	delete(content, "status")
	withoutNulls(content)
	return converted, nil
}

// FromAll converts several typed objects.
func FromAll(objects ...runtime.Object) ([]*unstructured.Unstructured, error) {
	converted := make([]*unstructured.Unstructured, len(objects))
	for i, object := range objects {
		var err error
		if converted[i], err = From(object); err != nil {
			return nil, err
		}
	}
	return converted, nil
}

// withoutNulls removes nulls at any depth. Applying a null claims the field and empties it.
func withoutNulls(value any) {
	switch value := value.(type) {
	case map[string]any:
		for name, field := range value {
			if field == nil {
				delete(value, name)
				continue
			}
			withoutNulls(field)
		}
	case []any:
		for _, item := range value {
			withoutNulls(item)
		}
	}
}
