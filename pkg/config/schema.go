package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	schemas "argosy.dev/argosy/docs/schema"
)

//go:generate go test . -run "TestTheSchemasAreUpToDate|TestTheReferenceIsUpToDate" -update
//go:generate go generate ../../charts

// Schema returns the JSON Schema of a document (VClusterDocument or FleetDocument), for editors to complete and check
// with. It is generated from the Go types, their comments and tags, the defaults and the refusals. It holds the keys,
// their types and the forms of single values, and accepts every document that Parse accepts; rules over more than one
// key are only in Parse.
func Schema(document string) string {
	if document == FleetDocument {
		return schemas.Fleet()
	}
	return schemas.VCluster()
}

// schema is a JSON Schema of draft 2020-12 in the order in which people read one. Keywords with "x-" are annotations
// for this package and its documentation, which editors ignore.
type schema struct {
	Schema      string   `json:"$schema,omitempty"`
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description,omitempty"`
	Type        any      `json:"type,omitempty"` // a name, or a list of them
	Enum        []any    `json:"enum,omitempty"`
	Pattern     string   `json:"pattern,omitempty"`
	MinLength   int      `json:"minLength,omitempty"`
	Minimum     *int     `json:"minimum,omitempty"`
	Maximum     int      `json:"maximum,omitempty"`
	Default     any      `json:"default,omitempty"`
	Examples    []string `json:"examples,omitempty"`
	WriteOnly   bool     `json:"writeOnly,omitempty"`

	// Words is the type as Key.Type has it; the fields below it are those of Key and KeyEffect of the same name.
	Words         string   `json:"x-type,omitempty"`
	Example       string   `json:"x-example,omitempty"`
	At            Location `json:"x-at,omitempty"`
	Effect        Effect   `json:"x-effect,omitempty"`
	Refused       []string `json:"x-refused,omitempty"`
	RefusedInside []string `json:"x-refusedInside,omitempty"`
	// Names is how documentation calls the keys of a mapping that the user chooses: "registry".
	Names string `json:"x-names,omitempty"`

	Required             []string    `json:"required,omitempty"`
	Properties           properties  `json:"properties,omitempty"`
	AdditionalProperties *additional `json:"additionalProperties,omitempty"`
	Items                *schema     `json:"items,omitempty"`
}

// properties holds the keys of a section, in the order of its type.
type properties []property

type property struct {
	name string
	*schema
}

// UnmarshalJSON keeps the order, which a map would lose.
func (p *properties) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if _, err := decoder.Token(); err != nil {
		return fmt.Errorf("opening properties: %w", err)
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("reading the name of a property: %w", err)
		}
		next := property{name: fmt.Sprint(name), schema: &schema{}}
		if err := decoder.Decode(next.schema); err != nil {
			return fmt.Errorf("reading property %q: %w", next.name, err)
		}
		*p = append(*p, next)
	}
	return nil
}

// additional is the schema of a mapping's values; without one no keys are allowed but the properties.
type additional struct{ *schema }

// UnmarshalJSON reads a schema, or false.
func (a *additional) UnmarshalJSON(text []byte) error {
	if string(text) == "false" {
		return nil
	}
	if err := json.Unmarshal(text, &a.schema); err != nil {
		return fmt.Errorf("reading the schema of other properties: %w", err)
	}
	return nil
}

// The schemas are read once, when they are first needed. Their texts are generated and compiled in; a test shows that
// reading them returns no error.
var (
	fleetSchema    = sync.OnceValue(func() *schema { return readSchema(FleetDocument) })
	vclusterSchema = sync.OnceValue(func() *schema { return readSchema(VClusterDocument) })
)

func readSchema(document string) *schema {
	read := &schema{}
	_ = json.Unmarshal([]byte(Schema(document)), read)
	return read
}

func schemaOf(document string) *schema {
	if document == FleetDocument {
		return fleetSchema()
	}
	return vclusterSchema()
}

// content returns the section that a key holds, and how the key's path goes on to it: "[]" for an item of a list,
// ".<registry>" for a name that the user chooses. A key that is no section has an empty one.
func (s *schema) content() (section *schema, suffix string) {
	for {
		switch {
		case s.Items != nil:
			s, suffix = s.Items, suffix+"[]"
		case s.AdditionalProperties != nil && s.AdditionalProperties.schema != nil:
			s, suffix = s.AdditionalProperties.schema, suffix+".<"+s.Names+">"
		case len(s.Properties) == 0:
			return s, ""
		default:
			return s, suffix
		}
	}
}

// keys returns the keys of a section, each section before its own keys.
func (s *schema) keys(document, above string) []Key {
	var keys []Key
	for _, p := range s.Properties {
		inner, suffix := p.content()
		path := join(above, p.name) + suffix
		keys = append(keys, Key{
			KeyEffect: KeyEffect{document, path, p.At, p.Effect}, Section: len(inner.Properties) > 0, Type: p.Words,
			Meaning: p.Description, Allowed: inner.allowed(), Default: inYAML(p.Default), Example: p.Example,
			Required: slices.Contains(s.Required, p.name), Refused: p.Refused, RefusedInside: p.RefusedInside,
		})
		keys = append(keys, inner.keys(document, path)...)
	}
	return keys
}

// allowed returns the values of an enumeration without empty text and null, which mean the default.
func (s *schema) allowed() []string {
	var values []string
	for _, value := range s.Enum {
		if value != nil && value != "" {
			values = append(values, fmt.Sprint(value))
		}
	}
	return values
}

// keysNamed returns the paths at which a document has a key of exactly this name, at most two, and none when there are
// more. Those below names that the user chooses are left out.
func keysNamed(document, name string) []string {
	const most = 2
	var found []string
	for _, k := range Keys(document) {
		path := strings.TrimSuffix(k.Key, "[]")
		if strings.HasSuffix(path, ">") {
			path = parent(path)
		}
		if lastKey(path) == name && !strings.Contains(path, "<") {
			found = append(found, path)
		}
	}
	if len(found) > most {
		return nil
	}
	return found
}
