package build

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/addons"
	"argosy.dev/argosy/pkg/config"
)

func TestAddonImagesAreNamedOnceAndInFull(t *testing.T) {
	seen := map[string]bool{}
	for _, addon := range newCache(t).addons("v1.37.2", "v0.36.0", "/network", "/busybox") {
		tag, err := name.NewTag(addon.ref, name.StrictValidation)
		assert.NilError(t, err)
		assert.Assert(t, !seen[tag.RepositoryStr()], addon.ref)
		seen[tag.RepositoryStr()] = true
		assert.Equal(t, addon.program == "", addon.build == nil, addon.ref)
		assert.Assert(t, addon.program != "" || addon.base != "", "%s is empty", addon.ref)
		host, _, _ := strings.Cut(addon.ref, "/")
		assert.Assert(t, strings.Contains(host, "."), "%s names no registry", addon.ref)
	}
	assert.Assert(t, seen["kube-proxy"])
}

func TestEveryImageOfAllAddonsIsBuilt(t *testing.T) {
	defaults := config.Defaults()
	for _, version := range []string{"v1.36.5", "v1.37.2"} {
		agent, err := agentTag(version)
		assert.NilError(t, err)
		built := map[string]bool{}
		for _, addon := range newCache(t).addons(version, agent, "/network", "/busybox") {
			built[addon.ref] = true
		}
		wanted, err := addons.Images(addons.WithAll(&defaults), version)
		assert.NilError(t, err)
		for _, image := range wanted {
			// These two are made elsewhere: from the folder of releases, and for the bundles.
			if strings.HasSuffix(image.For, "control plane") || strings.HasPrefix(image.For, "pause") {
				continue
			}
			assert.Assert(t, built[image.Reference], "%s is asked for, for %s", image.Reference, image.For)
			delete(built, image.Reference)
		}
		delete(built, "lab.argosy.dev/web:v1") // what tests run
		assert.Equal(t, len(built), 0, "built, but not asked for: %v", built)
	}
}

// A cluster with the addons that are on by default must find their images without the optional ones.
func TestDefaultAddonsNeedNoOptionalImage(t *testing.T) {
	defaults := config.Defaults()
	needed, err := addons.Images(&defaults, "v1.34.4")
	assert.NilError(t, err)
	optional := map[string]bool{}
	for _, addon := range newCache(t).addons("v1.37.2", "v0.36.0", "/network", "/busybox") {
		if addon.optional {
			optional[addon.ref] = true
		}
	}
	assert.Equal(t, len(optional), 3, "MetalLB has two, metrics-server one: %v", optional)
	for _, image := range needed {
		assert.Assert(t, !optional[image.Reference], "%s is needed for %s", image.Reference, image.For)
	}
}

func TestAddonImageHasAnEntrypointOrAShell(t *testing.T) {
	b, folder := newCache(t), t.TempDir()
	write(t, filepath.Join(folder, "program"), "fake program")
	write(t, filepath.Join(folder, "bin/sh"), "fake shell")
	build := func(context.Context) (string, error) { return folder, nil }
	for ref, c := range map[string]struct {
		addon           addon
		entrypoint, cmd []string
	}{
		"example.org/one:v1": {
			addon{program: "/opt/program", build: build, user: "1:1"},
			[]string{"/opt/program"},
			nil,
		},
		"example.org/two:v1": {addon{base: folder}, nil, []string{"sh"}},
	} {
		c.addon.ref = ref
		archive, err := b.addonImage(t.Context(), c.addon)
		assert.NilError(t, err)
		image, err := tarball.ImageFromPath(archive, nil)
		assert.NilError(t, err)
		config, err := image.ConfigFile()
		assert.NilError(t, err)
		assert.DeepEqual(t, config.Config.Entrypoint, c.entrypoint)
		assert.DeepEqual(t, config.Config.Cmd, c.cmd)
		assert.Equal(t, config.Config.User, c.addon.user)
	}
}
