// Package install_test renders install/ as kubectl apply -k does.
package install_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	defaultName = "ghcr.io/argosy-dev/executor-plugin"
	ownName     = "registry.example:5000/team/argosy"
	ownImage    = ownName + ":v9"
)

// images is the one entry that a user writes.
const images = "images:\n  - name: " + defaultName + "\n    newName: " + ownName + "\n    newTag: v9\n"

// render builds the kustomization of a folder of this checkout or of a copy.
func render(t *testing.T, folder string) string {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	assert.NilError(t, err)
	text, err := rendered.AsYaml()
	assert.NilError(t, err)
	return string(text)
}

// checkout copies install/ and workflows/ and returns the copy.
func checkout(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"install", "workflows"} {
		assert.NilError(t, os.CopyFS(filepath.Join(folder, name), os.DirFS(filepath.Join("..", name))))
	}
	return folder
}

// sidecar returns the container that Argo adds to agent pods, as it stands as text in the plugin's ConfigMap.
func sidecar(t *testing.T, rendered string) corev1.Container {
	t.Helper()
	for _, document := range strings.Split(rendered, "\n---\n") {
		var configMap corev1.ConfigMap
		assert.NilError(t, yaml.Unmarshal([]byte(document), &configMap))
		if text, found := configMap.Data["sidecar.container"]; found {
			var container corev1.Container
			assert.NilError(t, yaml.UnmarshalStrict([]byte(text), &container), text)
			return container
		}
	}
	t.Fatal("no ConfigMap has a sidecar")
	return corev1.Container{}
}

func assertImage(t *testing.T, rendered, image string) {
	t.Helper()
	container := sidecar(t, rendered)
	assert.Equal(t, container.Image, image)
	own := ""
	for _, variable := range container.Env {
		if variable.Name == "ARGOSY_IMAGE" {
			own = variable.Value
		}
	}
	assert.Equal(t, own, image, "control planes run their bundle server from it")
	assert.Equal(t, container.Name, "argosy", "the text around the image stays")
	if image != defaultName+":v0.1.0" {
		assert.Assert(t, !strings.Contains(rendered, defaultName), rendered)
	}
}

func TestInstallRendersTheDefaultImage(t *testing.T) {
	assertImage(t, render(t, "."), defaultName+":v0.1.0")
}

func TestOneImagesEntryInTheCheckoutChangesTheImageEverywhere(t *testing.T) {
	folder := checkout(t)
	path := filepath.Join(folder, "install", "kustomization.yaml")
	text, err := os.ReadFile(path)
	assert.NilError(t, err)
	begin := strings.Index(string(text), "images:\n")
	assert.Assert(t, begin >= 0, string(text))
	before, after := string(text[:begin]), string(text[begin:])
	// The entry ends where the next key begins.
	_, rest, found := strings.Cut(after, "\ntransformers:\n")
	assert.Assert(t, found, after)
	assert.NilError(t, os.WriteFile(path, []byte(before+images+"transformers:\n"+rest), 0o600))
	assertImage(t, render(t, filepath.Join(folder, "install")), ownImage)
}

func TestOneImagesEntryInAnOverlayChangesTheImageEverywhere(t *testing.T) {
	for name, prefix := range map[string]string{"plain": "", "with another name": "namePrefix: other-\n"} {
		t.Run(name, func(t *testing.T) {
			folder := checkout(t)
			overlay := filepath.Join(folder, "overlay")
			assert.NilError(t, os.Mkdir(overlay, 0o700))
			assert.NilError(t, os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), fmt.Appendf(nil,
				"%sresources: [../install]\n%stransformers: [../install/image-in-text]\n", prefix, images), 0o600))
			assertImage(t, render(t, overlay), ownImage)
		})
	}
}

// The Go types of the kinds know every field of the objects that users apply.
func TestEveryKustomizationRendersObjectsThatDecodeStrictly(t *testing.T) {
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, wfv1.AddToScheme, apiextensionsv1.AddToScheme, monitoringv1.AddToScheme,
	} {
		assert.NilError(t, add(types))
	}
	for folder, want := range map[string]int{
		".": 22, "crd": 1, "exporter": 5, "monitoring": 3, "rbac/provision": 2, "rbac/node-port": 1, "argo": 2,
	} {
		t.Run(folder, func(t *testing.T) {
			rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
			assert.NilError(t, err)
			for _, resource := range rendered.Resources() {
				text, err := resource.AsYAML()
				assert.NilError(t, err)
				object, err := types.New(schema.FromAPIVersionAndKind(resource.GetApiVersion(), resource.GetKind()))
				assert.NilError(t, err, resource.CurId())
				assert.NilError(t, yaml.UnmarshalStrict(text, object), "%s:\n%s", resource.CurId(), text)
			}
			assert.Equal(t, rendered.Size(), want)
		})
	}
}
