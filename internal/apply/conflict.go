package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// conflict is a field that another manager set to another value.
type conflict struct {
	field string // as the API server writes it: .spec.template.spec.containers[name="coredns"].image
	owner string
}

func (c conflict) String() string {
	return fmt.Sprintf("%s is %s's", strings.TrimPrefix(c.field, "."), c.owner)
}

// conflictsOf returns the fields over which the API server refused to apply, one entry a field.
func conflictsOf(err error) []conflict {
	status, ok := statusOf(err)
	if !ok || status.Details == nil {
		return nil
	}
	var conflicts []conflict
	for _, cause := range status.Details.Causes {
		if cause.Type != metav1.CauseTypeFieldManagerConflict {
			continue
		}
		owner := ownerIn(cause.Message)
		if i := slices.IndexFunc(conflicts, func(c conflict) bool { return c.field == cause.Field }); i >= 0 {
			conflicts[i].owner += " and " + owner
			continue
		}
		conflicts = append(conflicts, conflict{field: cause.Field, owner: owner})
	}
	return conflicts
}

// ownerIn returns the manager that a message like `conflict with "kubectl" using apps/v1` names.
func ownerIn(message string) string {
	_, quoted, found := strings.Cut(message, "conflict with ")
	if !found {
		return "another manager"
	}
	if prefix, err := strconv.QuotedPrefix(quoted); err == nil {
		quoted = prefix
	}
	if owner, err := strconv.Unquote(quoted); err == nil && owner != "" {
		return owner
	}
	return "another manager"
}

// drop removes a field from object and reports whether it existed. The object itself is no field of it.
func drop(object *unstructured.Unstructured, field string) bool {
	if field == "" {
		return false
	}
	_, found := without(object.Object, field)
	return found
}

// without returns value without the field at path, and nil when nothing is left of it: applying an empty map claims it
// as well. Names are not quoted in a path, so the dots in a label look like steps; only the object tells them apart.
func without(value any, path string) (rest any, found bool) {
	if path == "" {
		return nil, true
	}
	switch value := value.(type) {
	case map[string]any:
		found := withoutField(value, path)
		if found && len(value) == 0 {
			return nil, true
		}
		return value, found
	case []any:
		return withoutItem(value, path)
	}
	return value, false
}

func withoutField(fields map[string]any, path string) bool {
	path, isField := strings.CutPrefix(path, ".")
	if !isField {
		return false
	}
	for name, value := range fields {
		remaining, ok := strings.CutPrefix(path, name)
		if !ok || remaining != "" && remaining[0] != '.' && remaining[0] != '[' {
			continue
		}
		rest, found := without(value, remaining)
		if !found {
			continue
		}
		if fields[name] = rest; rest == nil {
			delete(fields, name)
		}
		return true
	}
	return false
}

func withoutItem(items []any, path string) ([]any, bool) {
	matches, remaining, ok := selector(path)
	if !ok {
		return items, false
	}
	i := slices.IndexFunc(items, matches)
	if i < 0 {
		return items, false
	}
	rest, found := without(items[i], remaining)
	if !found {
		return items, false
	}
	if rest == nil {
		return slices.Delete(items, i, i+1), true
	}
	items[i] = rest
	return items, true
}

// selector reads the list item at the start of a path, which is [name="a",port=80] for an item with these fields and
// [="a"] for an item that is this value, and returns the rest.
func selector(path string) (matches func(any) bool, remaining string, ok bool) {
	remaining, ok = strings.CutPrefix(path, "[")
	if !ok {
		return nil, "", false
	}
	wanted := map[string]string{}
	for {
		name, value, found := strings.Cut(remaining, "=")
		if !found {
			return nil, "", false
		}
		literal := value
		if quoted, err := strconv.QuotedPrefix(value); err == nil {
			literal = quoted
		} else if end := strings.IndexAny(value, ",]"); end >= 0 {
			literal = value[:end]
		}
		wanted[name] = literal
		remaining = value[len(literal):]
		if remaining, ok = strings.CutPrefix(remaining, ","); ok {
			continue
		}
		remaining, ok = strings.CutPrefix(remaining, "]")
		return func(item any) bool { return isItem(item, wanted) }, remaining, ok
	}
}

// isItem reports whether a list item has the fields that a path gives; a field without a name is the item itself.
func isItem(item any, wanted map[string]string) bool {
	for name, literal := range wanted {
		value := item
		if name != "" {
			fields, _ := item.(map[string]any)
			value = fields[name]
		}
		if written, err := json.Marshal(value); err != nil || string(written) != literal {
			return false
		}
	}
	return true
}
