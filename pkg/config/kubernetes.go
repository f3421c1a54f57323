package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
)

// fits checks that a section is the Kubernetes type that into points to. An unknown key is a problem at its position,
// with the nearest key as the suggestion. Case counts, as for the API server.
func (d *document) fits(key string, section Unstructured, into any) {
	d.kubernetes(key, section, into, true)
}

// kubernetes does what fits does; unless strict, unknown keys pass.
func (d *document) kubernetes(key string, section Unstructured, into any, strict bool) {
	if len(section) == 0 {
		return
	}
	name := reflect.TypeOf(into).Elem().Name()
	text, err := json.Marshal(section)
	if err != nil {
		d.add(key, "cannot be written as JSON", "")
		return
	}
	unknown, err := kjson.UnmarshalStrict(text, into, kjson.DisallowUnknownFields)
	if n := d.nodes[key]; n != nil && n.kind == yaml.MappingNode {
		check := typeCheck{d, name, strict}
		if check.value(n, reflect.TypeOf(into)) {
			return
		}
	}
	if err != nil {
		d.add(key, fmt.Sprintf("is no Kubernetes %s: %s", name, strings.TrimPrefix(err.Error(), "json: ")),
			"look its fields up in the Kubernetes API reference")
	}
	if !strict {
		return
	}
	for _, problem := range unknown {
		var field kjson.FieldError
		if errors.As(problem, &field) {
			d.unknownIn(key, field.FieldPath(), name, reflect.TypeOf(into))
		}
	}
}

// unknownIn adds a problem for a key that a Kubernetes type does not have.
func (d *document) unknownIn(section, path, name string, t reflect.Type) {
	if !plainPath.MatchString(path) {
		d.add(section, fmt.Sprintf("holds the key %s, which is unknown in a Kubernetes %s", shown(path), name), "")
		return
	}
	suggestion := ""
	if near := nearest(lastKey(path), keysAt(t, path)); near != "" {
		suggestion = fmt.Sprintf("did you mean %q?", near)
	}
	d.add(section+"."+path, "unknown key in a Kubernetes "+name, suggestion)
}

// fitsEach checks that every item of a list is the Kubernetes type T.
func fitsEach[T any](d *document, key string, items []Unstructured) {
	for i, item := range items {
		d.fits(key+"["+strconv.Itoa(i)+"]", item, new(T))
	}
}

var (
	indexTail = regexp.MustCompile(`(\[\d+\])+$`)
	// plainPath is a path whose keys are plain words; it is a path of the document as well.
	plainPath = regexp.MustCompile(`^[A-Za-z0-9_.\[\]-]{1,200}$`)
)

// lastKey returns the last part of a path as Kubernetes writes it: "capabilities.drop" gives "drop".
func lastKey(path string) string { return path[strings.LastIndex(path, ".")+1:] }

// keysAt returns the keys that a Kubernetes type has beside the one at a path, e.g. "containers[0].nmae".
func keysAt(t reflect.Type, path string) []string {
	steps := strings.Split(path, ".")
	for _, step := range steps[:len(steps)-1] {
		if t = below(t, indexTail.ReplaceAllString(step, "")); t == nil {
			return nil
		}
	}
	return keysOf(element(t))
}

// element returns the type behind pointers, and of the items of lists and maps.
func element(t reflect.Type) reflect.Type {
	for slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map}, t.Kind()) {
		t = t.Elem()
	}
	return t
}

// below returns the type of a key, or nil. A map has the same type for every key.
func below(t reflect.Type, key string) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() == reflect.Map {
		return t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		field := t.Field(i)
		if keyOf(field) == key {
			return field.Type
		}
		if field.Anonymous && keyOf(field) == "" {
			if inner := below(field.Type, key); inner != nil {
				return inner
			}
		}
	}
	return nil
}

// keysOf returns the keys of a struct, with those of the structs inlined in it.
func keysOf(t reflect.Type) []string {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		field := t.Field(i)
		switch key := keyOf(field); {
		case key != "":
			keys = append(keys, key)
		case field.Anonymous:
			keys = append(keys, keysOf(element(field.Type))...)
		}
	}
	return keys
}
