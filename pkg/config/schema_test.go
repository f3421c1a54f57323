package config_test

import (
	"encoding/json"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

// property walks a schema; "[]" goes into the items of a list.
func property(t *testing.T, schema map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, name := range path {
		if name == "[]" {
			schema, _ = schema["items"].(map[string]any)
			continue
		}
		properties, _ := schema["properties"].(map[string]any)
		schema, _ = properties[name].(map[string]any)
		assert.Assert(t, schema != nil, "no property %q in %v", name, path)
	}
	return schema
}

func TestTheSchemaHasDefaultsEnumerationsAndRequiredKeys(t *testing.T) {
	read := func(document string) map[string]any {
		var schema map[string]any
		assert.NilError(t, json.Unmarshal([]byte(config.Schema(document)), &schema))
		return schema
	}
	fleet, vcluster := read(config.FleetDocument), read(config.VClusterDocument)

	assert.DeepEqual(t, fleet["required"], []any{"apiVersion", "kind"})
	assert.DeepEqual(t, property(t, fleet, "machines", "[]")["required"], []any{"name", "address"})
	assert.DeepEqual(t, property(t, fleet, "bundles", "delivery")["enum"],
		[]any{"auto", "pull", "push", "spread", "", nil})
	assert.Equal(t, property(t, fleet, "limits", "machineTimeout")["default"], "20m")
	assert.Equal(t, property(t, fleet, "ssh", "trustOnFirstUse")["default"], false)
	assert.Equal(t, property(t, fleet, "machines", "[]", "ssh", "port")["default"], nil)
	assert.Equal(t, fleet["additionalProperties"], false)

	assert.DeepEqual(t, vcluster["required"], []any{"privateNodes"})
	assert.DeepEqual(t, property(t, vcluster, "privateNodes")["required"], []any{"enabled"})
	assert.Equal(t, property(t, vcluster, "privateNodes", "joinNode", "containerd", "enabled")["default"], true)
	password := property(t, vcluster, "privateNodes", "joinNode", "containerd", "registry",
		"auth")["additionalProperties"].(map[string]any)
	assert.Equal(t, property(t, password, "password")["writeOnly"], true)
}

// An editor shows the description; a key without one was forgotten.
func TestEveryKeyIsDescribed(t *testing.T) {
	var walk func(path string, schema map[string]any)
	walk = func(path string, schema map[string]any) {
		for _, below := range []string{"items", "additionalProperties"} {
			if inner, ok := schema[below].(map[string]any); ok {
				walk(path+"[]", inner)
			}
		}
		properties, _ := schema["properties"].(map[string]any)
		for name, value := range properties {
			inner, _ := value.(map[string]any)
			description, _ := inner["description"].(string)
			assert.Check(t, description != "", "%s.%s has no description", path, name)
			walk(path+"."+name, inner)
		}
	}
	for _, document := range []string{config.VClusterDocument, config.FleetDocument} {
		var schema map[string]any
		assert.NilError(t, json.Unmarshal([]byte(config.Schema(document)), &schema))
		walk(document, schema)
	}
}
