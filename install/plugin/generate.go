// Command plugin makes the ConfigMap and the README.md of this folder from plugin.yaml, as Argo's "argo executor-plugin
// build" does, so that neither the command nor its dependencies are needed to change the plugin. It differs for
// kustomize: the image is also a value of its own in the ConfigMap, and is in double quotes in the container's text.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/argoproj/argo-workflows/v3/pkg/plugins/spec"
	"sigs.k8s.io/yaml"
)

//go:generate go run .

const (
	manifest         = "plugin.yaml"
	annotationNeeds  = "workflows.argoproj.io/version"
	annotationText   = "workflows.argoproj.io/description"
	labelType        = "workflows.argoproj.io/configmap-type"
	generatedYAML    = "# This is an auto-generated file. DO NOT EDIT\n"
	generatedReadme  = "<!-- This is an auto-generated file. DO NOT EDIT -->\n"
	configMapPostfix = "-executor-plugin"
	imageKey         = "image"
)

func main() {
	files, err := generate(".")
	if err == nil {
		err = write(".", files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// generate returns the files to write into folder, by name.
func generate(folder string) (map[string][]byte, error) {
	source, err := os.ReadFile(filepath.Join(folder, manifest))
	if err != nil {
		return nil, fmt.Errorf("reading the plugin: %w", err)
	}
	var plugin spec.Plugin
	if err := yaml.UnmarshalStrict(source, &plugin); err != nil {
		return nil, fmt.Errorf("decoding %q: %w", manifest, err)
	}
	if err := plugin.Validate(); err != nil {
		return nil, fmt.Errorf("checking %q: %w", manifest, err)
	}
	configMap, err := configMapOf(plugin)
	if err != nil {
		return nil, err
	}
	readme, err := readmeOf(plugin)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{plugin.Name + configMapPostfix + "-configmap.yaml": configMap, "README.md": readme}, nil
}

// configMap is a ConfigMap as Argo 3.7 writes it, which is built with a Kubernetes that still wrote creationTimestamp:
// null.
type configMap struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metadata          `json:"metadata"`
	Data       map[string]string `json:"data"`
}

type metadata struct {
	Annotations       map[string]string `json:"annotations,omitempty"`
	CreationTimestamp *string           `json:"creationTimestamp"`
	Labels            map[string]string `json:"labels,omitempty"`
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace,omitempty"`
}

func configMapOf(plugin spec.Plugin) ([]byte, error) {
	container, err := yaml.Marshal(plugin.Spec.Sidecar.Container)
	if err != nil {
		return nil, fmt.Errorf("encoding the container: %w", err)
	}
	image := plugin.Spec.Sidecar.Container.Image
	quoted := strings.ReplaceAll(string(container), image, `"`+image+`"`)
	labels := map[string]string{labelType: plugin.Kind}
	for key, value := range plugin.Labels {
		labels[key] = value
	}
	encoded, err := yaml.Marshal(configMap{
		APIVersion: "v1",
		Kind:       "ConfigMap",
		Metadata: metadata{
			Name:        plugin.Name + configMapPostfix,
			Namespace:   plugin.Namespace,
			Annotations: plugin.Annotations,
			Labels:      labels,
		},
		Data: map[string]string{
			"sidecar.automountServiceAccountToken": fmt.Sprint(plugin.Spec.Sidecar.AutomountServiceAccountToken),
			"sidecar.container":                    quoted,
			imageKey:                               image,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the ConfigMap: %w", err)
	}
	return append([]byte(generatedYAML), encoded...), nil
}

// The blanks at the ends of lines are Argo's.
const readmeLayout = generatedReadme + `# {{.Name}}

* Needs: {{index .Annotations "` + annotationNeeds + `"}}
* Image: {{.Spec.Sidecar.Container.Image}}

{{index .Annotations "` + annotationText + `"}}

Install:

    kubectl apply -f {{.Name}}-executor-plugin-configmap.yaml

Uninstall:
` + "\t" + `
    kubectl delete cm {{.Name}}-executor-plugin ` + `
`

func readmeOf(plugin spec.Plugin) ([]byte, error) {
	layout, err := template.New("readme").Parse(readmeLayout)
	if err != nil {
		return nil, fmt.Errorf("parsing the layout of README.md: %w", err)
	}
	var readme bytes.Buffer
	if err := layout.Execute(&readme, plugin); err != nil {
		return nil, fmt.Errorf("writing README.md: %w", err)
	}
	return readme.Bytes(), nil
}

func write(folder string, files map[string][]byte) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return fmt.Errorf("writing %q: %w", name, err)
		}
	}
	return nil
}
