// Command charts copies the files of install/ and workflows/ that the Helm chart renders into it, and makes the schema
// of its values from values.yaml and the schemas of both documents. It never writes a template.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"argosy.dev/argosy/pkg/config"
)

//go:generate go run .

const chartFolder = "argosy"

// copies are files of the chart, and those of the checkout that they are copies of.
var copies = map[string]string{
	"files/control-plane/renew.yaml":          "examples/control-plane-metrics/renew.yaml",
	"files/control-plane/servicemonitor.yaml": "examples/control-plane-metrics/servicemonitor.yaml",
	"files/crd.yaml":                          "install/crd/clusterstates.argosy.dev.yaml",
	"files/exporter.yaml":                     "install/exporter/exporter.yaml",
	"files/monitoring/dashboard.json":         "install/monitoring/dashboard.json",
	"files/monitoring/rules.yaml":             "install/monitoring/rules.yaml",
	"files/monitoring/servicemonitor.yaml":    "install/monitoring/servicemonitor.yaml",
	"files/plugin.yaml":                       "install/plugin/argosy-executor-plugin-configmap.yaml",
	"files/rbac/argo-controller.yaml":         "install/argo/taskset-status.yaml",
	"files/rbac/executor-plugin.yaml":         "install/rbac/executor-plugin.yaml",
	"files/rbac/node-port.yaml":               "install/rbac/node-port/node-reader.yaml",
	"files/rbac/provision.yaml":               "install/rbac/provision/role.yaml",
	"files/rbac/workflow.yaml":                "install/rbac/workflow.yaml",
}

func main() {
	files, err := generate("..")
	if err == nil {
		err = write(chartFolder, files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(1)
	}
}

// generate returns the generated files of the chart, by path, from those of a checkout.
func generate(checkout string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for to, from := range copies {
		content, err := os.ReadFile(filepath.Join(checkout, from))
		if err != nil {
			return nil, fmt.Errorf("copying %q: %w", from, err)
		}
		files[to] = content
	}
	workflows, err := listed(filepath.Join(checkout, "workflows"))
	if err != nil {
		return nil, err
	}
	for name, content := range workflows {
		files["files/workflows/"+name] = content
	}
	values, err := os.ReadFile(filepath.Join(checkout, "charts", chartFolder, "values.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the chart's values: %w", err)
	}
	files["values.schema.json"], err = valuesSchema(values)
	return files, err
}

// listed returns the files that a kustomization has under resources, by name.
func listed(folder string) (map[string][]byte, error) {
	text, err := os.ReadFile(filepath.Join(folder, "kustomization.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the list of workflows: %w", err)
	}
	var kustomization struct {
		Resources []string `yaml:"resources"`
	}
	if err := yaml.Unmarshal(text, &kustomization); err != nil {
		return nil, fmt.Errorf("decoding the list of workflows: %w", err)
	}
	files := map[string][]byte{}
	for _, name := range kustomization.Resources {
		if files[name], err = os.ReadFile(filepath.Join(folder, name)); err != nil {
			return nil, fmt.Errorf("copying workflow %q: %w", name, err)
		}
	}
	return files, nil
}

// free are the values whose schema is Kubernetes' or Argo's, which check it when the object is created.
var free = map[string]bool{
	"imagePullSecrets": true, "plugin.resources": true, "plugin.extraEnv": true, "workflowTemplates.spec": true,
	"serviceAccount.annotations": true, "networkPolicy.egress": true, "exporter.resources": true,
	"exporter.scrapers": true,
}

// labels are the values that map text to text, as labels of Kubernetes do.
var labels = map[string]bool{"monitoring.labels": true, "monitoring.dashboardLabels": true}

// patterns are the forms of values that are text.
var patterns = map[string]string{
	"image.digest":        "^(sha256:[0-9a-f]{64})?$",
	"image.pullPolicy":    "^(Always|IfNotPresent|Never)?$",
	"podSecurity.enforce": "^(privileged|baseline|restricted)?$",
	// The ConfigMap with it can be read by many; a login belongs into the Secret.
	"traces.endpoint":      "^(https?://[^@]+)?$",
	"traces.headersKey":    "^[-._a-zA-Z0-9]+$",
	"traces.headersSecret": "^([a-z0-9]([-.a-z0-9]*[a-z0-9])?)?$",
	"serviceAccount.name":  "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
}

// valuesSchema returns the JSON Schema of values.yaml: its keys, the types of its defaults, its comments as
// descriptions, and for each cluster the schemas of both documents.
func valuesSchema(values []byte) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		return nil, fmt.Errorf("decoding the chart's values: %w", err)
	}
	schema, err := section(document.Content[0], "")
	if err != nil {
		return nil, err
	}
	// Helm 3 before 3.18 reads draft 7, which has all keywords that are used here.
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = "Values of the chart argosy"
	properties := schema["properties"].(map[string]any)
	properties["global"] = map[string]any{"type": "object", "description": "What Helm gives to all charts; not used."}
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(schema); err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	return encoded.Bytes(), nil
}

// section returns the schema of a mapping in values.yaml, which accepts no other keys.
func section(mapping *yaml.Node, above string) (map[string]any, error) {
	properties := map[string]any{}
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		path := strings.TrimPrefix(above+"."+key.Value, ".")
		property, err := valueSchema(value, path)
		if err != nil {
			return nil, err
		}
		if comment := words(key.HeadComment); comment != "" {
			property["description"] = comment
		}
		properties[key.Value] = property
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties}, nil
}

func valueSchema(value *yaml.Node, path string) (map[string]any, error) {
	switch {
	case path == "clusters":
		return clustersSchema()
	case value.Kind == yaml.SequenceNode && free[path]:
		return map[string]any{"type": "array", "items": map[string]any{"type": "object"}}, nil
	case value.Kind == yaml.SequenceNode:
		return map[string]any{"type": "array", "items": map[string]any{"type": "string"}}, nil
	case free[path]:
		return map[string]any{"type": "object"}, nil
	case labels[path]:
		text := map[string]any{"type": "string"}
		return map[string]any{"type": "object", "additionalProperties": text}, nil
	case value.Kind == yaml.MappingNode:
		return section(value, path)
	case value.Tag == "!!bool":
		return map[string]any{"type": "boolean"}, nil
	case value.Tag == "!!str":
		schema := map[string]any{"type": "string"}
		if pattern := patterns[path]; pattern != "" {
			schema["pattern"] = pattern
		}
		return schema, nil
	default:
		return nil, fmt.Errorf("reading the default of %q: no schema is known for its type %s", path, value.Tag)
	}
}

// words returns the sentences of a comment on one line, without the example that follows an empty line.
func words(comment string) string {
	comment, _, _ = strings.Cut(comment, "\n#\n")
	var lines []string
	for _, line := range strings.Split(comment, "\n") {
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(line, "#")))
	}
	return strings.TrimSpace(strings.Join(lines, " "))
}

// clustersSchema returns the schema of both documents for every cluster. The template writes apiVersion and kind.
func clustersSchema() (map[string]any, error) {
	documents := map[string]map[string]any{}
	for _, name := range []string{config.VClusterDocument, config.FleetDocument} {
		var document map[string]any
		if err := json.Unmarshal([]byte(config.Schema(name)), &document); err != nil {
			return nil, fmt.Errorf("decoding the schema of %q: %w", name, err)
		}
		plain(document)
		documents[name] = document
	}
	delete(documents[config.FleetDocument], "required")
	return map[string]any{
		"type": "object",
		// The name of a ConfigMap.
		"propertyNames": map[string]any{"pattern": "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"},
		"additionalProperties": map[string]any{
			"type": "object", "additionalProperties": false, "required": []string{"vcluster", "fleet"},
			"properties": map[string]any{
				"vcluster": documents[config.VClusterDocument], "fleet": documents[config.FleetDocument],
			},
		},
	}, nil
}

// plain removes the parts that only the documentation reads: annotations, and the dialect, which a schema names once.
func plain(value any) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			if strings.HasPrefix(key, "x-") || key == "$schema" {
				delete(value, key)
				continue
			}
			plain(inner)
		}
	case []any:
		for _, item := range value {
			plain(item)
		}
	}
}

func write(folder string, files map[string][]byte) error {
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("making the folder of %q: %w", name, err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return fmt.Errorf("writing %q: %w", name, err)
		}
	}
	return nil
}
