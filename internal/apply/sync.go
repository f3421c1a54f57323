package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"argosy.dev/argosy/pkg/errclass"
)

// inventoryKey of the inventory's ConfigMap holds one object a line: "apps/v1 Deployment kube-system/coredns".
const inventoryKey = "objects"

// Sync sets wanted and removes the objects that an earlier Sync with the same inventory, the name of a ConfigMap, set
// and that wanted lacks. The inventory lists every object from before it is first set until after it is removed, so
// that an interrupted run forgets nothing.
func (s *Setter) Sync(ctx context.Context, inventory types.NamespacedName, wanted []*unstructured.Unstructured,
	o Options,
) ([]Change, error) {
	recorded, err := s.Recorded(ctx, inventory)
	if err != nil {
		return nil, err
	}
	obsolete := slices.DeleteFunc(slices.Clone(recorded), func(old *unstructured.Unstructured) bool {
		return slices.ContainsFunc(wanted, func(object *unstructured.Unstructured) bool { return same(old, object) })
	})
	if err := s.record(ctx, inventory, append(slices.Clone(wanted), obsolete...), recorded); err != nil {
		return nil, err
	}
	changes, err := s.Set(ctx, wanted, o)
	if err != nil {
		return changes, err
	}
	removed, err := s.Remove(ctx, obsolete)
	changes = append(changes, removed...)
	if err != nil || len(obsolete) == 0 {
		return changes, err
	}
	kept := slices.DeleteFunc(obsolete, func(object *unstructured.Unstructured) bool {
		return !slices.ContainsFunc(removed, func(c Change) bool {
			return c.Outcome == Kept && c.String() == nameOf(object)
		})
	})
	return changes, s.record(ctx, inventory, append(slices.Clone(wanted), kept...), nil)
}

// Recorded returns the objects that Syncs with this inventory have set, with no more than kind, namespace and name.
func (s *Setter) Recorded(ctx context.Context, inventory types.NamespacedName) ([]*unstructured.Unstructured, error) {
	configMaps := s.client.Resource(corev1.SchemeGroupVersion.WithResource("configmaps"))
	live, err := configMaps.Namespace(inventory.Namespace).Get(ctx, inventory.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the inventory ConfigMap %q: %w", inventory, Classify(err))
	}
	lines, _, _ := unstructured.NestedString(live.Object, "data", inventoryKey)
	var objects []*unstructured.Unstructured
	for line := range strings.Lines(lines) {
		object, err := parseLine(strings.TrimSpace(line))
		if err != nil {
			return nil, errclass.Errorf(errclass.Permanent, "reading the inventory ConfigMap %q: %w", inventory, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// record writes the inventory, unless its objects before are the same.
func (s *Setter) record(ctx context.Context, inventory types.NamespacedName, objects,
	before []*unstructured.Unstructured,
) error {
	content := inventoryLines(objects)
	if before != nil && content == inventoryLines(before) {
		return nil
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": inventory.Namespace, "name": inventory.Name},
		"data":     map[string]any{inventoryKey: content},
	}}
	if _, err := s.set(ctx, &target{object: object}, Options{Force: true}); err != nil {
		return fmt.Errorf("writing the inventory ConfigMap %q: %w", inventory, err)
	}
	return nil
}

func inventoryLines(objects []*unstructured.Unstructured) string {
	lines := make([]string, len(objects))
	for i, object := range objects {
		lines[i] = object.GetAPIVersion() + " " + nameOf(object) + "\n"
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "")
}

func parseLine(line string) (*unstructured.Unstructured, error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return nil, fmt.Errorf("line %q is not an apiVersion, a kind and a name", line)
	}
	object := &unstructured.Unstructured{}
	object.SetAPIVersion(fields[0])
	object.SetKind(fields[1])
	namespace, name, namespaced := strings.Cut(fields[2], "/")
	if !namespaced {
		namespace, name = "", fields[2]
	}
	object.SetNamespace(namespace)
	object.SetName(name)
	return object, nil
}

// same reports whether two objects are one in the cluster. A kind keeps its objects when its version changes.
func same(a, b *unstructured.Unstructured) bool {
	return groupKind(a) == groupKind(b) && a.GetNamespace() == b.GetNamespace() && a.GetName() == b.GetName()
}

func groupKind(object *unstructured.Unstructured) schema.GroupKind {
	return object.GroupVersionKind().GroupKind()
}
