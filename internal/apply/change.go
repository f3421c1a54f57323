package apply

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Outcome is the effect of an operation on one object.
type Outcome string

const (
	// Created is the outcome for an object that did not exist.
	Created Outcome = "created"
	// Changed is that of an object that existed and is different now.
	Changed Outcome = "changed"
	// Unchanged is that of an object that existed as wanted.
	Unchanged Outcome = "unchanged"
	// Removed is that of an object that is deleted, or will be when its finalizers are done.
	Removed Outcome = "removed"
	// Kept is that of an obsolete object with which users' objects would be deleted; LeftTo names them.
	Kept Outcome = "kept"
)

// Change is the effect of an operation on one object.
type Change struct {
	Kind, Namespace, Name string
	Outcome               Outcome
	// LeftTo names the fields that were left to others, e.g. "spec.replicas is kubectl's".
	LeftTo []string
}

// String returns the object's name: "ConfigMap kube-system/coredns".
func (c Change) String() string { return named(c.Kind, c.Namespace, c.Name) }

func nameOf(object *unstructured.Unstructured) string {
	return named(object.GetKind(), object.GetNamespace(), object.GetName())
}

func named(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}

func changeOf(object *unstructured.Unstructured, outcome Outcome) *Change {
	return &Change{Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(), Outcome: outcome}
}

// maxNames bounds the objects of one outcome that a summary names.
const maxNames = 5

// Summary returns one line about changes, "3 created, 1 changed (ConfigMap kube-system/coredns), 40 unchanged", with
// the fields that were left to others.
func Summary(changes []Change) string {
	var parts []string
	for _, outcome := range []Outcome{Created, Changed, Removed, Kept, Unchanged} {
		if part := count(changes, outcome); part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return "nothing to set"
	}
	summary := strings.Join(parts, ", ")
	for _, change := range changes {
		if len(change.LeftTo) > 0 {
			summary += fmt.Sprintf("; %s: %s", change, strings.Join(change.LeftTo, ", "))
		}
	}
	return summary
}

// count returns the number of changes with an outcome, and the names of those that were changed, removed or kept.
func count(changes []Change, outcome Outcome) string {
	var names []string
	for _, change := range changes {
		if change.Outcome == outcome {
			names = append(names, change.String())
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case outcome == Created || outcome == Unchanged:
		return fmt.Sprintf("%d %s", len(names), outcome)
	case len(names) > maxNames:
		return fmt.Sprintf("%d %s (%s and %d more)", len(names), outcome, strings.Join(names[:maxNames], ", "),
			len(names)-maxNames)
	}
	return fmt.Sprintf("%d %s (%s)", len(names), outcome, strings.Join(names, ", "))
}
