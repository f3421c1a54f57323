package config

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/secret"
)

var (
	secretType   = reflect.TypeFor[secret.Value]()
	durationType = reflect.TypeFor[metav1.Duration]()
	amountType   = reflect.TypeFor[Amount]()
)

// decode writes a node over into, and adds a problem for every unknown key and every value of the wrong type. A key
// that the document leaves out or sets to null keeps the value that into has.
func (d *document) decode(n *node, into reflect.Value) {
	if n == nil || n.tag == nullTag {
		return
	}
	switch into.Type() {
	case secretType, durationType, amountType:
		d.scalar(n, into)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		fresh := reflect.New(into.Type().Elem())
		d.decode(n, fresh.Elem())
		into.Set(fresh)
	case reflect.Struct:
		d.structure(n, into)
	case reflect.Map:
		d.mapping(n, into)
	case reflect.Slice:
		d.list(n, into)
	case reflect.Interface:
		if value := d.unstructured(n); value != nil {
			into.Set(reflect.ValueOf(value))
		}
	case reflect.String:
		// Empty text leaves the default, for users who write `binariesPath: ""`, as the original's own values do.
		d.string(n, into)
	case reflect.Bool:
		d.boolean(n, into)
	case reflect.Int:
		d.integer(n, into)
	}
}

// scalar writes a text or a number over a value of one of our own types.
func (d *document) scalar(n *node, into reflect.Value) {
	switch into.Type() {
	case secretType:
		if d.isText(n) {
			into.Set(reflect.ValueOf(secret.New(n.text)))
		}
	case durationType:
		d.duration(n, into)
	case amountType:
		d.amountOf(n, into)
	}
}

// string writes text. A number or a boolean is written too, beside its problem, so that the problem can tell whether
// quotes alone would help.
func (d *document) string(n *node, into reflect.Value) {
	if d.isText(n) || n.kind == yaml.ScalarNode {
		if n.text != "" {
			into.SetString(n.text)
		}
	}
}

// amountOf writes a number or text, which are checked when the document has been read.
func (d *document) amountOf(n *node, into reflect.Value) {
	if n.kind != yaml.ScalarNode || n.tag == "!!bool" {
		d.addUnread(n.path, "must be a whole number or a percentage, not "+n.describe(), `write e.g. 3 or "25%"`)
		return
	}
	if n.text != "" {
		into.SetString(n.text)
	}
}

// unknownKey is the text of the problem of a key that the document's type does not have.
const unknownKey = "unknown key"

func (d *document) structure(n *node, into reflect.Value) {
	if !d.is(n, yaml.MappingNode) {
		return
	}
	fields := fieldsOf(into.Type())
	for _, f := range n.fields {
		if index, known := fields[f.name]; known {
			d.decode(f.value, into.Field(index))
			if allowed := into.Type().Field(index).Tag.Get("enum"); allowed != "" &&
				into.Field(index).Kind() == reflect.String {
				d.oneOf(f.value.path, into.Field(index).String(), strings.Split(allowed, ",")...)
			}
			continue
		}
		line, column := f.value.keyLine, f.value.keyColumn
		meant, suggestion := d.didYouMean(f.name, n, fields)
		d.addAt(line, column, join(n.path, f.name), unknownKey, suggestion)
		if meant != "" {
			d.giveUp(join(n.path, meant))
		}
	}
}

// didYouMean suggests the nearest key of the same section that is not used already, which is meant, or else the section
// that has a key of exactly this name.
func (d *document) didYouMean(name string, n *node, fields map[string]int) (meant, suggestion string) {
	var unused []string
	for known := range fields {
		if n.get(known) == nil {
			unused = append(unused, known)
		}
	}
	slices.Sort(unused)
	if near := nearest(name, unused); near != "" {
		return near, fmt.Sprintf("did you mean %q?", near)
	}
	if homes := keysNamed(d.name, name); len(homes) > 0 {
		return "", fmt.Sprintf("did you mean %s?", strings.Join(homes, " or "))
	}
	if len(fields) <= 12 {
		return "", "known here: " + strings.Join(slices.Sorted(maps.Keys(fields)), ", ")
	}
	return "", ""
}

func (d *document) mapping(n *node, into reflect.Value) {
	if !d.is(n, yaml.MappingNode) {
		return
	}
	fresh := reflect.MakeMapWithSize(into.Type(), len(n.fields))
	for _, f := range n.fields {
		value := reflect.New(into.Type().Elem()).Elem()
		d.decode(f.value, value)
		fresh.SetMapIndex(reflect.ValueOf(f.name), value)
	}
	into.Set(fresh)
}

func (d *document) list(n *node, into reflect.Value) {
	if !d.is(n, yaml.SequenceNode) {
		return
	}
	fresh := reflect.MakeSlice(into.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		if item.tag == nullTag {
			d.addUnread(item.path, "is empty", "remove it")
			continue
		}
		d.decode(item, fresh.Index(i))
	}
	into.Set(fresh)
}

func (d *document) boolean(n *node, into reflect.Value) {
	if n.kind == yaml.ScalarNode && n.tag == "!!bool" {
		into.SetBool(strings.EqualFold(n.text, "true"))
		return
	}
	d.notBoolean(n)
}

// notBoolean adds the problem of a value that is neither true nor false. Readers of YAML 1.1 take some words for one of
// them.
func (d *document) notBoolean(n *node) {
	suggestion := "write true or false"
	switch word := strings.ToLower(n.text); {
	case word == "true" || word == "false":
		suggestion = "remove the quotes"
	case slices.Contains([]string{"yes", "on", "y", "1"}, word):
		suggestion = "write true"
	case meansFalse(n):
		suggestion = "write false"
	}
	d.addUnread(n.path, "must be true or false, not "+n.describe(), suggestion)
}

// meansFalse reports whether a value that is not false was meant to be.
func meansFalse(n *node) bool {
	return n.kind == yaml.ScalarNode && n.tag != "!!bool" &&
		slices.Contains([]string{"false", "no", "off", "n", "0"}, strings.ToLower(n.text))
}

func (d *document) integer(n *node, into reflect.Value) {
	var value int64
	if n.kind == yaml.ScalarNode && (n.tag == "!!int" || n.tag == "!!float" && digits.MatchString(n.text)) {
		if otherBase.MatchString(n.text) {
			d.addUnread(n.path, shown(n.text)+" is not written as a decimal number, and means another one",
				"write it without a leading zero and underscores")
			return
		}
		if err := n.scalar().Decode(&value); err == nil && value >= math.MinInt32 && value <= math.MaxInt32 {
			into.SetInt(value)
			return
		}
		d.addUnread(n.path, "is out of range", fmt.Sprintf("use %d to %d", math.MinInt32, math.MaxInt32))
		return
	}
	d.notInteger(n)
}

// notInteger adds the problem of a value that is no whole number.
func (d *document) notInteger(n *node) {
	is, suggestion := n.describe(), ""
	if n.tag == "!!str" {
		suggestion = "write it in digits"
	}
	if n.kind == yaml.ScalarNode && n.tag == "!!float" {
		is = "one with a fraction or an exponent"
	}
	var number float64
	if n.kind == yaml.ScalarNode && yaml.Unmarshal([]byte(n.text), &number) == nil &&
		math.Trunc(number) == number && math.Abs(number) <= math.MaxInt32 {
		suggestion = fmt.Sprintf("write %.0f", number)
	}
	d.addUnread(n.path, "must be a whole number, not "+is, suggestion)
}

// digits are a number that may be too long for an integer of the parser's.
var digits = regexp.MustCompile(`^[+-]?[0-9]+$`)

// otherBase matches numbers that YAML reads in another way than people do: "022" is 18, "2_2" is 22.
var otherBase = regexp.MustCompile(`^[+-]?0[0-9_]|_`)

func (d *document) duration(n *node, into reflect.Value) {
	const example = `write e.g. "30s" or "5m"`
	if n.kind != yaml.ScalarNode || n.tag != "!!str" {
		suggestion := example
		if n.tag == "!!int" && digits.MatchString(n.text) {
			suggestion = fmt.Sprintf("write %q for seconds", n.text+"s")
		}
		d.addUnread(n.path, "must be a duration, not "+n.describe(), suggestion)
		return
	}
	parsed, err := time.ParseDuration(n.text)
	if err != nil {
		d.addUnread(n.path, shown(n.text)+" is not a duration", example)
		return
	}
	into.Set(reflect.ValueOf(metav1.Duration{Duration: parsed}))
}

// unstructured returns a node as maps, lists and scalars that JSON can hold.
func (d *document) unstructured(n *node) any {
	switch n.kind {
	case yaml.MappingNode:
		values := make(map[string]any, len(n.fields))
		for _, f := range n.fields {
			values[f.name] = d.unstructured(f.value)
		}
		return values
	case yaml.SequenceNode:
		values := make([]any, 0, len(n.items))
		for _, item := range n.items {
			values = append(values, d.unstructured(item))
		}
		return values
	}
	switch n.tag {
	case nullTag:
		return nil
	case "!!bool", "!!int", "!!float":
		var value any
		err := n.scalar().Decode(&value)
		if f, isFloat := value.(float64); err != nil || (isFloat && (math.IsNaN(f) || math.IsInf(f, 0))) {
			d.add(n.path, "is not a number that JSON can hold", "")
			return nil
		}
		return value
	}
	return n.text
}

// scalar converts a node back to the parser's type, which reads numbers.
func (n *node) scalar() *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: n.tag, Value: n.text}
}

func (d *document) is(n *node, kind yaml.Kind) bool {
	if n.kind == kind {
		return true
	}
	wanted := "a mapping of keys to values"
	if kind == yaml.SequenceNode {
		wanted = "a list"
	}
	d.addUnread(n.path, "must be "+wanted+", not "+n.describe(), "")
	return false
}

// isText reports whether a node is text, and adds a problem if not. A number is no text: 1.30 would become 1.3.
func (d *document) isText(n *node) bool {
	switch {
	case n.kind == yaml.ScalarNode && (n.tag == "!!str" || n.tag == "!!timestamp"):
		return true
	case n.kind == yaml.ScalarNode:
		d.addUnquoted(n)
	case n.style == inOneLine:
		d.addUnread(n.path, `holds ": " or ends in ":", which YAML reads as a mapping`, "put the text in quotes")
	case n.style == inFlow:
		d.addUnread(n.path, fmt.Sprintf("begins with %q, which YAML reads as %s", opening(n), n.describe()),
			"put the text in quotes")
	default:
		d.addUnread(n.path, "must be text, not "+n.describe(), "")
	}
	return false
}

// opening returns the bracket at the start of a list or a mapping in flow style.
func opening(n *node) string {
	if n.kind == yaml.SequenceNode {
		return "["
	}
	return "{"
}

// describe names the kind of a value. It never shows its content, which may be a secret.
func (n *node) describe() string {
	switch n.kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.tag {
	case "!!bool":
		return "a boolean"
	case "!!int", "!!float":
		return "a number"
	}
	return "text"
}

// fieldsOf returns the indexes of a struct's fields by their keys.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		if name := keyOf(t.Field(i)); name != "" {
			fields[name] = i
		}
	}
	return fields
}

// keyOf returns a field's key in the document.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
