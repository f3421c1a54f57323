// Package install_test renders install/ as kubectl apply -k does.
package install_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	corev1 "k8s.io/api/core/v1"
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
