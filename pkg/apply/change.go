package apply

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Outcome is what became of one object.
type Outcome string

const (
	// Created: it was not there.
	Created Outcome = "created"
	// Changed: it was there, and is different now.
	Changed Outcome = "changed"
	// Unchanged: it was there as wanted.
	Unchanged Outcome = "unchanged"
	// Removed: it was there and is deleted, or about to be once its finalizers are done.
	Removed Outcome = "removed"
	// Kept: it should go, but users' objects would go with it; LeftTo says which.
	Kept Outcome = "kept"
)

// Change is what became of one object.
type Change struct {
	Kind, Namespace, Name string
	Outcome               Outcome
	// LeftTo names what was left to others, e.g. "spec.replicas is kubectl's".
	LeftTo []string
}

// String names the object: "ConfigMap kube-system/coredns".
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

// mostNames is how many objects of one outcome a summary names.
const mostNames = 5

// Summary says in one line what changes there were: "3 created, 1 changed (ConfigMap kube-system/coredns), 40
// unchanged", and what was left to others.
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

// count says how many changes have an outcome, and names those that a reader wonders about.
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
	case len(names) > mostNames:
		return fmt.Sprintf("%d %s (%s and %d more)", len(names), outcome, strings.Join(names[:mostNames], ", "),
			len(names)-mostNames)
	}
	return fmt.Sprintf("%d %s (%s)", len(names), outcome, strings.Join(names, ", "))
}
