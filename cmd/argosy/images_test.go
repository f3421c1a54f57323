package main

import (
	"encoding/json"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/pkg/bundle/components"
)

func TestImagesAreListedOneALine(t *testing.T) {
	out, _, err := run(t, "images", "list", "--kubernetes", "v1.34.4")
	assert.NilError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	assert.Equal(t, lines[0], program.DefaultImage)
	assert.Equal(t, lines[1], "ghcr.io/loft-sh/kubernetes:v1.34.4-full")
	for _, line := range lines {
		assert.Assert(t, !strings.ContainsAny(line, " \t"), "%q is more than an image", line)
	}
	assert.Assert(t, !strings.Contains(out, "metallb"), out)
}

func TestImagesOfWhatIsOffAreListedOnDemand(t *testing.T) {
	out, _, err := run(t, "images", "list", "--kubernetes", "v1.34.4", "--all", "--output", "json")
	assert.NilError(t, err)
	var images []addons.Image
	assert.NilError(t, json.Unmarshal([]byte(out), &images))
	listed := map[string]string{}
	for _, image := range images {
		listed[image.For] = image.Reference
	}
	assert.Equal(t, listed["metrics-server"], "registry.k8s.io/metrics-server/metrics-server:v0.9.0")
}

func TestImagesListRefusesUnknownVersionAndFormat(t *testing.T) {
	out, _, err := run(t, "images", "list")
	assert.NilError(t, err)
	assert.Assert(t, strings.Contains(out, ":"+components.DefaultKubernetes), out)
	_, code, err := run(t, "images", "list", "--kubernetes", "v1.99.0")
	assert.ErrorContains(t, err, `listing the images of Kubernetes "v1.99.0"`)
	assert.Equal(t, code, program.ExitConfiguration)
	_, code, err = run(t, "images", "list", "--kubernetes", "v1.34.4", "--output", "xml")
	assert.ErrorContains(t, err, `only list, table, json and yaml are known`)
	assert.Equal(t, code, program.ExitConfiguration)
}
