package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Key is all that is to say about one key of a document. It is made from the Go types, their comments, tags and
// defaults, and from what is refused.
type Key struct {
	KeyEffect
	// Section has keys of its own, whose paths go on behind this one's.
	Section bool
	// Type in words: "text", "true or false", "list of text".
	Type string
	// Meaning in sentences.
	Meaning string
	// Allowed values, where only some are.
	Allowed []string
	// Default and Example in YAML, in one line; empty where there is none.
	Default, Example string
	// Required says that a section which is there must have it.
	Required bool
	// Refused says, a sentence for each, why nothing can be set here but what is so anyway, and what to do instead.
	Refused []string
	// RefusedInside says the same of parts of a key whose content is free.
	RefusedInside []string
}

// Keys lists every key of a document (VClusterDocument or FleetDocument) in the order of its types, each section before
// what is in it.
func Keys(document string) ([]Key, error) {
	comments, err := keyComments()
	if err != nil {
		return nil, fmt.Errorf("reading comments for the keys of %q: %w", document, err)
	}
	var keys []Key
	for _, k := range walk(document) {
		described := Key{
			KeyEffect: KeyEffect{document, k.path, k.at, k.effect}, Section: k.section,
			Meaning: comments[k.owner.Name()+"."+k.field.Name], Refused: k.refused(),
			Required: required(k.owner, k.field),
		}
		if allowed := k.field.Tag.Get("enum"); allowed != "" {
			described.Allowed = strings.Split(allowed, ",")
		}
		if described.Type = "section"; !k.section {
			described.Type, described.Default = typeInWords(k.field.Type), defaultOf(k.defaults)
			described.Example = k.example(described)
			for _, r := range k.inner {
				described.RefusedInside = append(described.RefusedInside,
					strings.TrimPrefix(r.path, k.path+".")+" "+r.reason+"; "+r.instead)
			}
		}
		keys = append(keys, described)
	}
	return keys, nil
}

// refused says why.
func (k key) refused() []string {
	var reasons []string
	for _, r := range k.refusals {
		reasons = append(reasons, r.reason+"; "+r.instead)
	}
	return reasons
}

// typeInWords says what a value has to be.
func typeInWords(t reflect.Type) string {
	switch {
	case t == secretType:
		return "text, secret"
	case t == durationType:
		return "duration"
	case t == amountType:
		return "number or percentage"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeInWords(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "whole number"
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "list of " + strings.Replace(typeInWords(t.Elem()), "mapping of anything", "mappings", 1)
	case reflect.Map:
		return "mapping of " + typeInWords(t.Elem())
	}
	return "anything"
}

// defaultOf a key, in YAML; a switch always has one, other keys unless it is nothing.
func defaultOf(v reflect.Value) string {
	if !v.IsValid() {
		return ""
	}
	if v.Kind() == reflect.Pointer {
		return defaultOf(v.Elem())
	}
	if v.Kind() != reflect.Bool && v.IsZero() {
		return ""
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	return inYAML(v.Interface())
}

// inYAML writes a value in one line.
func inYAML(value any) string {
	switch value := value.(type) {
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

// shortDuration is a duration as people write it: "5m", not "5m0s".
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

// example is the tag's, or what the type and the default suggest: another of the allowed values, the other switch. What
// can only be what it is anyway shows that.
func (k key) example(described Key) string {
	written := k.field.Tag.Get("example")
	if len(described.Refused) > 0 {
		return cmp.Or(described.Default, nothingOf(k.field.Type), written)
	}
	switch {
	case written != "":
		return written
	case len(described.Allowed) > 0:
		for _, value := range described.Allowed {
			if value != described.Default {
				return value
			}
		}
	case described.Default == "true":
		return "false"
	case described.Type == "true or false":
		return "true"
	}
	return described.Default
}

// nothingOf is the value of a type that says nothing; empty for those that need a closer look.
func nothingOf(t reflect.Type) string {
	switch {
	case t == secretType || t.Kind() == reflect.String:
		return `""`
	case t.Kind() == reflect.Int:
		return "0"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return "[]"
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.String:
		return "{}"
	}
	return ""
}

// required says whether a section that is there must have a field; switches have a default, but for the one that says
// which kind of cluster it is.
func required(owner reflect.Type, field reflect.StructField) bool {
	if field.Type.Kind() == reflect.Bool {
		return owner == reflect.TypeFor[PrivateNodes]() && field.Name == "Enabled"
	}
	return !strings.Contains(field.Tag.Get("json"), ",omit")
}
