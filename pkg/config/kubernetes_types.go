package config

import (
	"encoding/json"
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// typeCheck checks the values of a section against a Kubernetes type, each at its own position: decoding the section as
// a whole would end at the first wrong value and tell it in words of Go.
type typeCheck struct {
	*document
	name   string // of the Kubernetes type
	strict bool   // unknown keys are problems
}

// value checks a value and all values in it. It reports whether one is wrong.
func (c typeCheck) value(n *node, t reflect.Type) (wrong bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case n.tag == nullTag || t.Kind() == reflect.Interface:
		return false
	case reflect.PointerTo(t).Implements(unmarshalerType) || isLeaf(t):
		return c.leaf(n, t)
	case t.Kind() == reflect.Slice:
		if !c.is(n, yaml.SequenceNode) {
			return true
		}
		for _, item := range n.items {
			wrong = c.value(item, t.Elem()) || wrong
		}
		return wrong
	}
	if !c.is(n, yaml.MappingNode) {
		return true
	}
	for _, f := range n.fields {
		switch inside := below(t, f.name); {
		case inside != nil:
			wrong = c.value(f.value, inside) || wrong
		case c.strict:
			c.unknown(n, f, t)
			wrong = true
		}
	}
	return wrong
}

func (c typeCheck) unknown(n *node, f field, t reflect.Type) {
	var unused []string
	for _, known := range keysOf(t) {
		if n.get(known) == nil {
			unused = append(unused, known)
		}
	}
	suggestion := ""
	if near := nearest(f.name, unused); near != "" {
		suggestion = fmt.Sprintf("did you mean %q?", near)
	}
	c.addAt(f.value.keyLine, f.value.keyColumn, f.value.path, "unknown key in a Kubernetes "+c.name, suggestion)
}

var unmarshalerType = reflect.TypeFor[json.Unmarshaler]()

// isLeaf reports whether a type is that of a scalar. Bytes are text in base64.
func isLeaf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return false
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	}
	return true
}

// leaf checks a value that has no keys: JSON decides whether it fits.
func (c typeCheck) leaf(n *node, t reflect.Type) (wrong bool) {
	text, err := json.Marshal(c.unstructured(n))
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err == nil {
		return false
	}
	switch t {
	case reflect.TypeFor[metav1.Duration]():
		c.duration(n, reflect.New(t).Elem())
		return true
	case reflect.TypeFor[resource.Quantity]():
		c.addUnread(n.path, "is not an amount of a resource", `write e.g. "200m" for cpu or "256Mi" for memory`)
		return true
	case reflect.TypeFor[intstr.IntOrString]():
		c.addUnread(n.path, "must be a whole number or text, not "+n.describe(), "")
		return true
	}
	switch t.Kind() {
	case reflect.Bool:
		c.notBoolean(n)
	case reflect.String:
		c.isText(n)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8,
		reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n.tag == "!!int" {
			c.addUnread(n.path, "is out of range", "")
			return true
		}
		c.notInteger(n)
	case reflect.Float32, reflect.Float64:
		c.addUnread(n.path, "must be a number, not "+n.describe(), "")
	default:
		c.addUnread(n.path, "is not a Kubernetes "+t.Name(), "")
	}
	return true
}
