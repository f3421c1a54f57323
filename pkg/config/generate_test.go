package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The schemas are compiled in from these files; go generate writes them.
func TestTheSchemasAreUpToDate(t *testing.T) {
	for document, file := range map[string]string{
		VClusterDocument: "vcluster.schema.json", FleetDocument: "fleet.schema.json",
	} {
		text, err := json.MarshalIndent(generated(t, document), "", "  ")
		assert.NilError(t, err)
		golden.Assert(t, string(text)+"\n", "../../../docs/schema/"+file)
	}
}

// readSchema drops its error, which cannot occur: the text is generated.
func TestTheCompiledSchemasAreReadWhole(t *testing.T) {
	for _, document := range []string{VClusterDocument, FleetDocument} {
		assert.NilError(t, json.Unmarshal([]byte(Schema(document)), &schema{}))
		text, err := json.MarshalIndent(readSchema(document), "", "  ")
		assert.NilError(t, err)
		assert.Equal(t, string(text)+"\n", Schema(document))
	}
}

// MarshalJSON keeps the order.
func (p properties) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for i, next := range p {
		name, err := json.Marshal(next.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(next.schema)
		if err != nil {
			return nil, err
		}
		out.WriteByte("{,"[min(i, 1)])
		out.Write(append(append(name, ':'), value...))
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// MarshalJSON writes a schema, or false.
func (a additional) MarshalJSON() ([]byte, error) {
	if a.schema == nil {
		return []byte("false"), nil
	}
	return json.Marshal(a.schema)
}

// generator makes the schema of a document from its types, their comments and tags, the defaults and the refusals.
//
// A comment may end in lines of markers, as those of kubebuilder do:
//
//	+names=registry            how documentation calls the names in a mapping that the user chooses
//	+at=machine                where the key takes effect; without it, where the section around it does
//	+effect=restarts kubelet   the consequence of a change; without it, that of the section around it
//	+example={zone: rack-1}    a value in YAML
type generator struct {
	comments map[string]comment // by "Type" and "Type.Field"
	refusals []refusal
}

// comment is a doc comment in one line, and its markers.
type comment struct {
	text    string
	markers map[string]string
}

// generated returns the schema of a document from the present sources.
func generated(t *testing.T, document string) *schema {
	t.Helper()
	g := generator{comments: comments(t), refusals: append(unsupported(), notProvisioned()...)}
	top, defaults := reflect.TypeFor[VCluster](), reflect.ValueOf(withOlderNames(defaultVCluster()))
	if document == FleetDocument {
		g.refusals = nil
		top, defaults = reflect.TypeFor[Fleet](), reflect.ValueOf(defaultFleet())
	}
	s := g.object(top, defaults, surroundings{})
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", document
	s.Description = g.comments[top.Name()].text
	return s
}

// withOlderNames returns the defaults with those of sections that have an older name under both.
func withOlderNames(v VCluster) VCluster {
	v.PrivateNodes.CNI = v.Deploy.CNI
	v.PrivateNodes.KubeProxy = v.Deploy.KubeProxy
	v.PrivateNodes.LocalPathProvisioner = v.Deploy.LocalPathProvisioner
	return v
}

// comments reads those of this package's types.
func comments(t *testing.T) map[string]comment {
	t.Helper()
	files, err := filepath.Glob("*.go")
	assert.NilError(t, err)
	found := map[string]comment{}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		assert.NilError(t, err)
		for _, each := range tree.Decls {
			declaration, isDeclaration := each.(*ast.GenDecl)
			if !isDeclaration || declaration.Tok != token.TYPE {
				continue
			}
			for _, spec := range declaration.Specs {
				named, _ := spec.(*ast.TypeSpec)
				found[named.Name.Name] = commentOf(declaration.Doc)
				structure, isStruct := named.Type.(*ast.StructType)
				if !isStruct {
					continue
				}
				for _, field := range structure.Fields.List {
					for _, name := range field.Names {
						found[named.Name.Name+"."+name.Name] = commentOf(field.Doc)
					}
				}
			}
		}
	}
	return found
}

func commentOf(group *ast.CommentGroup) comment {
	var words []string
	markers := map[string]string{}
	for line := range strings.Lines(group.Text()) {
		if !strings.HasPrefix(line, "+") {
			words = append(words, strings.Fields(line)...)
			continue
		}
		for marker := range strings.SplitSeq(" "+strings.TrimSpace(line), " +") {
			if name, value, found := strings.Cut(marker, "="); found {
				markers[name] = value
			}
		}
	}
	return comment{strings.Join(words, " "), markers}
}

// surroundings are values that a key inherits from the section around it.
type surroundings struct {
	path     string
	at       Location
	effect   Effect
	refusals []refusal
}

// object describes a struct. defaults is a value of it, or invalid where there are none.
func (g generator) object(t reflect.Type, defaults reflect.Value, around surroundings) *schema {
	s := &schema{Type: "object", AdditionalProperties: &additional{}}
	for i := range t.NumField() {
		field := t.Field(i)
		name := keyOf(field)
		if name == "" {
			continue
		}
		value := reflect.Value{}
		if defaults.IsValid() {
			value = defaults.Field(i)
		}
		p := g.property(field, g.comments[t.Name()+"."+field.Name], join(around.path, name), value, around)
		s.Properties = append(s.Properties, property{name, p})
		if isRequired(t, field) {
			s.Required = append(s.Required, name)
			p.Default = nil
			if p.Type == "string" {
				p.MinLength = 1
			}
			continue
		}
		p.orDefault()
	}
	return s
}

// isRequired reports whether a section that is there must have a field. Switches have a default, except the one that
// chooses the kind of cluster.
func isRequired(owner reflect.Type, field reflect.StructField) bool {
	if field.Type.Kind() == reflect.Bool {
		return owner == reflect.TypeFor[PrivateNodes]() && field.Name == "Enabled"
	}
	return !strings.Contains(field.Tag.Get("json"), ",omit")
}

// property describes a field by its type, comment and tags, and by its refusals, which leave no effect.
func (g generator) property(field reflect.StructField, doc comment, path string, value reflect.Value,
	around surroundings,
) *schema {
	here := around
	here.path = path
	here.at = cmp.Or(Location(doc.markers["at"]), here.at)
	if effect := doc.markers["effect"]; effect != "" {
		here.effect, here.refusals = Effect(effect), nil
	}
	var inside []string
	for _, r := range g.refusals {
		switch {
		case r.path == path:
			here.effect = NoEffect
			here.refusals = append(here.refusals[:len(here.refusals):len(here.refusals)], r)
		case isBelow(r.path, path):
			inside = append(inside, strings.TrimPrefix(r.path, path+".")+" "+r.reason+"; "+r.instead)
		}
	}
	if here.effect == NoEffect {
		here.at = ""
	}
	p := g.value(field.Type, value, here, cmp.Or(doc.markers["names"], "name"))
	p.Description, p.At, p.Effect, p.Words = doc.text, here.at, here.effect, "section"
	for _, r := range here.refusals {
		p.Refused = append(p.Refused, r.reason+"; "+r.instead)
	}
	p.restrict(field.Tag)
	if section, _ := p.content(); len(section.Properties) == 0 {
		p.Words, p.RefusedInside = typeInWords(field.Type), inside
		p.Example = example(field.Type, doc.markers["example"], p)
	}
	return p
}

// Forms of single values: tag format of a field names one of them. Empty text passes where it means the default.
var (
	patterns = map[string]string{
		"duration": `^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`,
		"networks": `^(\s*[0-9A-Fa-f.:]+/[0-9]{1,3}\s*(,\s*[0-9A-Fa-f.:]+/[0-9]{1,3}\s*)?)?$`,
		"path":     `^(/[A-Za-z0-9._+@-]+)*$`,
		"quantity": `^(\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?)?$`,
		"share":    `^((100|[0-9]{1,2})%)?$`,
		"amount":   `^([0-9]{1,6}%?)?$`,
		"version":  `^(v?[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?)?$`,
	}
	none = 0
)

// restrict adds the values and the form that a field's tags allow.
func (s *schema) restrict(tag reflect.StructTag) {
	s.Enum = append(s.Enum, enum(tag.Get("enum"))...)
	if s.Items != nil {
		s.Items.Enum = enum(tag.Get("items"))
	}
	if name, values, found := strings.Cut(tag.Get("known"), "="); found {
		known := &schema{
			Description: fmt.Sprintf("One of %s.", strings.ReplaceAll(values, ",", ", ")),
			Type:        "string", Enum: enum(values),
		}
		known.orDefault()
		s.Properties = properties{{name, known}}
	}
	switch format := tag.Get("format"); format {
	case "":
	case "port":
		s.Minimum, s.Maximum = &none, maxPort
	case "share":
		s.Type, s.Minimum, s.Pattern = []string{"integer", "string"}, &none, patterns[format]
	default:
		s.Pattern = patterns[format]
	}
}

// enum returns the values of a tag.
func enum(list string) []any {
	if list == "" {
		return nil
	}
	var values []any
	for value := range strings.SplitSeq(list, ",") {
		switch value {
		case "true", "false":
			values = append(values, value == "true")
		default:
			values = append(values, value)
		}
	}
	return values
}

// orDefault adds the ways to write that a key has its default: null, and empty text.
func (s *schema) orDefault() {
	switch t := s.Type.(type) {
	case string:
		s.Type = []string{t, "null"}
	case []string:
		s.Type = append(t, "null")
	}
	if len(s.Enum) > 0 {
		s.Enum = append(s.Enum, "", nil)
	}
}

// maxPort is the largest port of TCP.
const maxPort = 65535

// value describes a type; names is how the keys of a mapping are called.
func (g generator) value(t reflect.Type, defaults reflect.Value, here surroundings, names string) *schema {
	usual := func() any {
		if !defaults.IsValid() || defaults.IsZero() {
			return nil
		}
		if duration, ok := defaults.Interface().(metav1.Duration); ok {
			return shortDuration(duration)
		}
		if defaults.Kind() == reflect.String {
			return defaults.String()
		}
		return defaults.Interface()
	}
	switch t {
	case secretType:
		return &schema{Type: "string", WriteOnly: true}
	case amountType:
		return &schema{
			Type: []string{"integer", "string"}, Minimum: &none, Maximum: 999999, Pattern: patterns["amount"],
			Default: usual(),
		}
	case durationType:
		return &schema{
			Type: "string", Pattern: patterns["duration"], Default: usual(), Examples: []string{"30s", "5m"},
		}
	}
	switch t.Kind() {
	case reflect.Pointer:
		if defaults.IsValid() {
			defaults = defaults.Elem()
		}
		return g.value(t.Elem(), defaults, here, names)
	case reflect.Struct:
		return g.object(t, defaults, here)
	case reflect.Map:
		here.path += ".<" + names + ">"
		values := g.value(t.Elem(), reflect.Value{}, here, names)
		values.orDefault()
		s := &schema{Type: "object", AdditionalProperties: &additional{values}}
		if t.Elem().Kind() == reflect.Struct {
			s.Names = names
		}
		return s
	case reflect.Slice:
		here.path += "[]"
		return &schema{Type: "array", Default: usual(), Items: g.value(t.Elem(), reflect.Value{}, here, names)}
	case reflect.Bool:
		s := &schema{Type: "boolean"}
		if defaults.IsValid() {
			s.Default = defaults.Bool()
		}
		return s
	case reflect.Int:
		return &schema{Type: "integer", Default: usual()}
	case reflect.String:
		return &schema{Type: "string", Default: usual()}
	}
	return &schema{Default: usual()}
}

// typeInWords returns the name of a type in the reference.
func typeInWords(t reflect.Type) string {
	switch t {
	case secretType:
		return "text, secret"
	case durationType:
		return "duration"
	case amountType:
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

// example returns the value that the comment gives, or one of the allowed values that is not the default, or the other
// switch. Of a key whose other values are refused it returns the value that can be set.
func example(t reflect.Type, written string, p *schema) string {
	usual := inYAML(p.Default)
	if len(p.Refused) > 0 {
		return cmp.Or(usual, emptyOf(t), written)
	}
	switch {
	case written != "":
		return written
	case len(p.allowed()) > 0:
		for _, value := range p.allowed() {
			if value != usual {
				return value
			}
		}
	case usual == "true":
		return "false"
	case p.Type == "boolean":
		return "true"
	}
	return usual
}

// emptyOf returns the empty value of a type in YAML; empty text for those of which not every empty value is accepted.
func emptyOf(t reflect.Type) string {
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
