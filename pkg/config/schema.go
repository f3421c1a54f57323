package config

import (
	"embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:generate go test . -run "TestTheSchemasAreUpToDate|TestTheReferenceIsUpToDate" -update

// sources hold the comments that describe the keys.
//
//go:embed fleet.go upgrade.go override.go vcluster.go controlplane.go statefulset.go backingstore.go networking.go
var sources embed.FS

// schema is a JSON Schema of draft 2020-12, in the order in which people read one.
type schema struct {
	Schema               string             `json:"$schema,omitempty"`
	Title                string             `json:"title,omitempty"`
	Description          string             `json:"description,omitempty"`
	Type                 any                `json:"type,omitempty"` // a name, or a list of them
	Enum                 []string           `json:"enum,omitempty"`
	Default              any                `json:"default,omitempty"`
	Examples             []string           `json:"examples,omitempty"`
	WriteOnly            bool               `json:"writeOnly,omitempty"`
	Required             []string           `json:"required,omitempty"`
	Properties           map[string]*schema `json:"properties,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"`
	Items                *schema            `json:"items,omitempty"`
}

// Schema returns the JSON Schema of a document (VClusterDocument or FleetDocument), made from the Go types, their
// comments and the defaults, for editors to complete and check with. It knows the keys and types; what depends on more
// than one key only Parse knows.
func Schema(document string) ([]byte, error) {
	comments, err := keyComments()
	if err != nil {
		return nil, fmt.Errorf("reading comments for the schema of %q: %w", document, err)
	}
	defaults := reflect.ValueOf(defaultVCluster())
	if document == FleetDocument {
		defaults = reflect.ValueOf(defaultFleet())
	}
	top := comments.schemaOf(documentType(document), defaults)
	top.Schema, top.Title = "https://json-schema.org/draft/2020-12/schema", document
	top.Description = comments[documentType(document).Name()]
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the schema of %q: %w", document, err)
	}
	return append(text, '\n'), nil
}

// descriptions by "Type" and "Type.Field".
type descriptions map[string]string

// keyComments reads the comments of this package's types.
func keyComments() (descriptions, error) {
	files, err := sources.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("listing sources: %w", err)
	}
	comments := descriptions{}
	for _, file := range files {
		text, err := sources.ReadFile(file.Name())
		if err != nil {
			return nil, fmt.Errorf("reading source %q: %w", file.Name(), err)
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file.Name(), text, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parsing source %q: %w", file.Name(), err)
		}
		for _, declaration := range tree.Decls {
			if types, ok := declaration.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				comments.addType(types)
			}
		}
	}
	return comments, nil
}

func (c descriptions) addType(declaration *ast.GenDecl) {
	for _, spec := range declaration.Specs {
		named, _ := spec.(*ast.TypeSpec)
		c[named.Name.Name] = oneLine(declaration.Doc)
		structure, ok := named.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				c[named.Name.Name+"."+name.Name] = oneLine(field.Doc)
			}
		}
	}
}

func oneLine(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}

// schemaOf describes a type; defaults is a value of it, or invalid where there are none.
func (c descriptions) schemaOf(t reflect.Type, defaults reflect.Value) *schema {
	switch {
	case t == secretType:
		return &schema{Type: "string", WriteOnly: true}
	case t == amountType:
		return &schema{Type: []string{"integer", "string"}, Default: unlessZero(defaults)}
	case t == durationType:
		s := &schema{Type: "string", Examples: []string{"30s", "5m"}}
		if duration, ok := valueOf(defaults).(metav1.Duration); ok && duration.Duration > 0 {
			s.Default = duration.Duration.String()
		}
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		if defaults.IsValid() {
			defaults = defaults.Elem()
		}
		return c.schemaOf(t.Elem(), defaults)
	case reflect.Struct:
		return c.object(t, defaults)
	case reflect.Map:
		return &schema{Type: "object", AdditionalProperties: c.schemaOf(t.Elem(), reflect.Value{})}
	case reflect.Slice:
		return &schema{Type: "array", Items: c.schemaOf(t.Elem(), reflect.Value{})}
	case reflect.Bool:
		return &schema{Type: "boolean", Default: valueOf(defaults)}
	case reflect.Int:
		return &schema{Type: "integer", Default: unlessZero(defaults)}
	case reflect.String:
		return &schema{Type: "string", Default: unlessZero(defaults)}
	}
	return &schema{}
}

func valueOf(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

func unlessZero(v reflect.Value) any {
	if !v.IsValid() || v.IsZero() {
		return nil
	}
	return v.Interface()
}

// object describes a struct. A key is required when its tag does not let it be left out; switches always have a
// default.
func (c descriptions) object(t reflect.Type, defaults reflect.Value) *schema {
	s := &schema{Type: "object", Properties: map[string]*schema{}, AdditionalProperties: false}
	for i := range t.NumField() {
		field := t.Field(i)
		key := keyOf(field)
		if key == "" {
			continue
		}
		value := reflect.Value{}
		if defaults.IsValid() {
			value = defaults.Field(i)
		}
		property := c.schemaOf(field.Type, value)
		property.Description = c[t.Name()+"."+field.Name]
		if allowed := field.Tag.Get("enum"); allowed != "" {
			property.Enum = strings.Split(allowed, ",")
		}
		s.Properties[key] = property
		if required(t, field) {
			s.Required = append(s.Required, key)
		}
	}
	return s
}
