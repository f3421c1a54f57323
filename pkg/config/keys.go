package config

import (
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Key describes one key of a document.
type Key struct {
	KeyEffect
	// Section has keys of its own, whose paths go on behind this one's.
	Section bool
	// Type in words: "section", "text", "true or false", "list of text".
	Type string
	// Meaning in sentences.
	Meaning string
	// Allowed values, where only some are.
	Allowed []string
	// Default and Example in YAML, in one line; empty where there is none.
	Default, Example string
	// Required reports whether a section that is there must have it.
	Required bool
	// Refused holds a sentence for each reason why only the value that holds anyway is accepted, and the way out.
	Refused []string
	// RefusedInside holds the same for parts of an unstructured section.
	RefusedInside []string
}

// Keys returns every key of a document (VClusterDocument or FleetDocument) in the order of its types, each section
// before its keys.
func Keys(document string) []Key { return schemaOf(document).keys(document, "") }

// inYAML writes a value in one line; nil is empty text.
func inYAML(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case metav1.Duration:
		return shortDuration(value)
	case string:
		return value
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
}

// shortDuration writes a duration as people do: "5m", not "5m0s".
func shortDuration(d metav1.Duration) string {
	text := strings.TrimSuffix(d.Duration.String(), "m0s")
	if text != d.Duration.String() {
		text += "m"
	}
	if hours, found := strings.CutSuffix(text, "h0m"); found {
		text = hours + "h"
	}
	return text
}
