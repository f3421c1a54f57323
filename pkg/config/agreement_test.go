package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

// The parser and the schemas must agree on every document: editors check with the schemas. All documents that the tests
// of this package parse are held against both (see parse and problemsOf), and here every key with values of every kind.
// The schemas are asked through a validator that knows nothing of this package.

// validators are compiled once.
var validators = sync.OnceValue(func() map[string]*jsonschema.Schema {
	compiled := map[string]*jsonschema.Schema{}
	for _, document := range []string{config.VClusterDocument, config.FleetDocument} {
		text, err := jsonschema.UnmarshalJSON(strings.NewReader(config.Schema(document)))
		if err != nil {
			panic(err)
		}
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource(document, text); err != nil {
			panic(err)
		}
		compiled[document] = compiler.MustCompile(document)
	}
	return compiled
})

// bySchema returns the validator's error; known is false if the text is no YAML that JSON can hold.
func bySchema(document, text string) (known bool, refusal error) {
	var value any
	if err := yaml.Unmarshal([]byte(strings.Replace(text, "%YAML 1.2", "%YAML 1.1", 1)), &value); err != nil {
		return false, nil
	}
	content, err := json.Marshal(asText(value))
	if err != nil {
		return false, nil
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		return false, nil
	}
	return true, validators()[document].Validate(instance)
}

// asText replaces dates, which YAML has and JSON has not.
func asText(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			value[key] = asText(inner)
		}
	case []any:
		for i, inner := range value {
			value[i] = asText(inner)
		}
	case time.Time:
		return value.Format(time.DateOnly)
	}
	return value
}

// agree asserts that parser and schemas agree on both documents; err is the parser's.
func agree(t *testing.T, vcluster, fleet string, err error) {
	t.Helper()
	var problems config.Problems
	errors.As(err, &problems)
	for document, text := range map[string]string{config.VClusterDocument: vcluster, config.FleetDocument: fleet} {
		known, refusal := bySchema(document, text)
		if !known {
			continue
		}
		isOf := func(p config.Problem) bool { return p.Document == document }
		if !slices.ContainsFunc(problems, isOf) && refusal != nil {
			t.Errorf("the parser accepts and the schema refuses %s: %v\n%s", document, refusal, text)
		}
		for _, p := range problems {
			if isOf(p) && knowable(p) && refusal == nil {
				t.Errorf("the schema accepts %s in spite of: %v\n%s", document, p, text)
			}
		}
	}
}

// knowable reports whether a schema can know of a problem: of unknown keys, wrong types, values that are not among
// those allowed, and keys that are missing. It cannot know of these:
//
//	Kubernetes types         their schemas are Kubernetes' own
//	numbers with a fraction  22.0 is a whole number to JSON Schema
//	numbers out of range     the parser's bounds are those of 32 bits
//	text to be missing       where only other keys make a key required
func knowable(p config.Problem) bool {
	if _, _, found := config.FindKey(p.Document, p.Key); !found && !strings.HasPrefix(p.Text, "unknown key") {
		return false
	}
	for _, text := range []string{"must be a whole number, not one", "unknown key in a Kubernetes"} {
		if strings.HasPrefix(p.Text, text) {
			return false
		}
	}
	for _, text := range []string{
		"unknown key", "must be text", "must be a mapping", "must be a list", "must be a whole number",
		"must be true or false", "must be a duration", "must be true, false or auto", "is neither a number",
	} {
		if strings.HasPrefix(p.Text, text) {
			return true
		}
	}
	return strings.HasSuffix(p.Text, " is not a duration") || strings.HasSuffix(p.Text, " is not known")
}

// Users copy the examples.
func TestTheSchemasAcceptTheExamples(t *testing.T) {
	manifests, err := filepath.Glob("../../examples/*/*.yaml")
	assert.NilError(t, err)
	count := 0
	for _, manifest := range manifests {
		text, err := os.ReadFile(manifest)
		assert.NilError(t, err)
		for part := range strings.SplitSeq(string(text), "\n---\n") {
			var object struct{ Data map[string]string }
			if yaml.Unmarshal([]byte(part), &object) != nil || object.Data[config.VClusterDocument] == "" {
				continue
			}
			count++
			vcluster, fleet := object.Data[config.VClusterDocument], object.Data[config.FleetDocument]
			_, err := config.Parse("team-a", []byte(vcluster), []byte(fleet))
			assert.NilError(t, err, manifest)
			agree(t, vcluster, fleet, nil)
		}
	}
	assert.Assert(t, count >= 2, "%d clusters in the examples", count)
}

// An editor may write all defaults into a document: that changes nothing.
func TestDefaultsOfTheSchemasAreThoseOfTheParser(t *testing.T) {
	plain := parse(t, goodVCluster, goodFleet)
	for _, document := range []string{config.VClusterDocument, config.FleetDocument} {
		var top map[string]any
		assert.NilError(t, json.Unmarshal([]byte(config.Schema(document)), &top))
		filled := defaultsIn(top)
		documents := map[string]map[string]any{
			config.VClusterDocument: {"privateNodes": map[string]any{"enabled": true}},
			config.FleetDocument:    fleetBase(),
		}
		for key, value := range filled.(map[string]any) {
			section, isSection := value.(map[string]any)
			base, exists := documents[document][key].(map[string]any)
			if isSection && exists {
				maps.Copy(section, base)
			}
			documents[document][key] = value
		}
		vcluster, fleet := inBlock(t, documents[config.VClusterDocument]), inBlock(t, documents[config.FleetDocument])
		filledVCluster, filledFleet := printed(t, parse(t, vcluster, fleet))
		plainVCluster, plainFleet := printed(t, plain)
		assert.Equal(t, filledVCluster, plainVCluster)
		assert.Equal(t, filledFleet, plainFleet)
	}
}

// defaultsIn returns the defaults in a schema and its sections; nil if there are none.
func defaultsIn(schema map[string]any) any {
	if value, ok := schema["default"]; ok {
		return value
	}
	filled := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		if value := defaultsIn(property.(map[string]any)); value != nil {
			filled[name] = value
		}
	}
	if len(filled) == 0 {
		return nil
	}
	return filled
}

func fleetBase() map[string]any {
	return map[string]any{
		"apiVersion": "argosy.dev/v1alpha1", "kind": "Fleet", "cluster": map[string]any{"kubeconfigSecret": "admin"},
		"machines": []any{map[string]any{"name": "alpha", "address": "10.0.0.1"}},
	}
}

func inBlock(t *testing.T, value any) string {
	t.Helper()
	text, err := yaml.Marshal(value)
	assert.NilError(t, err)
	return string(text)
}

// Every key is tried with values of every kind, in a cluster that exists and in one that Argosy provisions.
func TestParserAndSchemasAgreeOnEveryKey(t *testing.T) {
	for _, document := range []string{config.VClusterDocument, config.FleetDocument} {
		var top map[string]any
		assert.NilError(t, json.Unmarshal([]byte(config.Schema(document)), &top))
		base := map[string]any{"privateNodes": map[string]any{"enabled": true}}
		if document == config.FleetDocument {
			base = fleetBase()
		}
		tried := 0
		eachKey(top, func(value any) any { return value }, func(build func(any) any, values []any) {
			for _, value := range values {
				tried++
				whole := maps.Clone(base)
				maps.Copy(whole, build(value).(map[string]any))
				text := inBlock(t, whole)
				vcluster, fleet := text, goodFleet
				if document == config.FleetDocument {
					vcluster, fleet = goodVCluster, text
				}
				_, err := config.Parse("team-a", []byte(vcluster), []byte(fleet))
				agree(t, vcluster, fleet, err)
			}
		})
		assert.Assert(t, tried > 1000, "%d documents", tried)
	}
}

// eachKey calls try for a schema and everything in it, with a function that makes a document of a value at that place
// and the values to try.
func eachKey(schema map[string]any, build func(any) any, try func(build func(any) any, values []any)) {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	for name, property := range properties {
		p := property.(map[string]any)
		inSection := func(value any) any {
			section := map[string]any{}
			for _, other := range required {
				if needed, ok := properties[fmt.Sprint(other)].(map[string]any); ok && other != name {
					section[fmt.Sprint(other)] = exampleOf(needed)
				}
			}
			section[name] = value
			return build(section)
		}
		try(inSection, valuesFor(p))
		eachKey(p, inSection, try)
	}
	if items, ok := schema["items"].(map[string]any); ok {
		asItem := func(value any) any { return build([]any{value}) }
		try(asItem, valuesFor(items))
		eachKey(items, asItem, try)
	}
	if values, ok := schema["additionalProperties"].(map[string]any); ok && len(values) > 0 {
		asValue := func(value any) any { return build(map[string]any{"docker.io": value}) }
		try(asValue, valuesFor(values))
		eachKey(values, asValue, try)
	}
}

// exampleOf returns the example of a key that its section needs.
func exampleOf(schema map[string]any) any {
	var value any
	if text, ok := schema["x-example"].(string); ok {
		_ = yaml.Unmarshal([]byte(text), &value)
		return value
	}
	return map[string]any{"enabled": true}
}

// valuesFor returns values of every kind, and those that the schema names.
func valuesFor(schema map[string]any) []any {
	values := []any{
		nil, "", "x", "off", "10", true, 0, -1, 70000, 1.5,
		[]any{},
		[]any{nil},
		[]any{"x"},
		map[string]any{},
		map[string]any{"a": nil},
		map[string]any{"type": "x"},
	}
	if schema["pattern"] != nil {
		values = append(values, "5m", "10.0.0.0/8", "/a/b", "2Gi", "50%")
	}
	named, _ := schema["enum"].([]any)
	values = append(values, named...)
	if text, ok := schema["x-example"].(string); ok {
		values = append(values, exampleOf(map[string]any{"x-example": text}))
	}
	if value, ok := schema["default"]; ok {
		values = append(values, value)
	}
	return values
}
