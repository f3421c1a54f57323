package build

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/bundle/components"
)

func TestEveryInputOfABuildChangesItsKey(t *testing.T) {
	type inputs struct {
		recipe    recipe
		files     map[string]string
		goVersion string
		arch      string
	}
	base := func() inputs {
		return inputs{
			recipe: recipe{
				Component: "thing", Module: "thing", Version: "v1.0.0",
				Programs:  map[string]string{"a": "example.org/a", "b": "example.org/b"},
				Tags:      []string{"one"},
				LinkFlags: []string{"-X", "main.version=v1.0.0"},
				Patches:   map[string]string{"a.go": "own.go.txt"},
			},
			files:     map[string]string{"module/go.mod": digest([]byte("module thing")), "module/go.sum": digest(nil)},
			goVersion: "go1.26.0",
			arch:      "amd64",
		}
	}
	key := func(in inputs) string {
		key, err := inputsKey(in.recipe, in.files, in.goVersion, in.arch)
		assert.NilError(t, err)
		return key
	}
	assert.Equal(t, key(base()), key(base()))

	changes := map[string]func(*inputs){
		"component":    func(in *inputs) { in.recipe.Component = "other" },
		"version":      func(in *inputs) { in.recipe.Version = "v1.0.1" },
		"program":      func(in *inputs) { in.recipe.Programs["a"] = "example.org/c" },
		"program name": func(in *inputs) { in.recipe.Programs["c"] = "example.org/a" },
		"tag":          func(in *inputs) { in.recipe.Tags = nil },
		"link flag":    func(in *inputs) { in.recipe.LinkFlags[1] = "main.version=v1.0.1" },
		"cgo":          func(in *inputs) { in.recipe.Cgo = true },
		"C flag":       func(in *inputs) { in.recipe.CFlags = []string{"-DONE=1"} },
		"patch":        func(in *inputs) { in.recipe.Patches["b.go"] = "own.go.txt" },
		"go.mod":       func(in *inputs) { in.files["module/go.mod"] = digest([]byte("module thing ")) },
		"new file":     func(in *inputs) { in.files["module/main.go"] = digest(nil) },
		"Go version":   func(in *inputs) { in.goVersion = "go1.26.1" },
		"machine":      func(in *inputs) { in.arch = "arm64" },
	}
	keys := map[string]string{key(base()): "nothing"}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		in := base()
		changes[name](&in)
		got := key(in)
		assert.Equal(t, keys[got], "", "changing the %s gives the key of changing the other", name)
		keys[got] = name
	}
}

func TestCacheKeyHasModuleFilesAndPatches(t *testing.T) {
	b := &Builder{Source: t.TempDir()}
	write(t, filepath.Join(b.Source, "modules/thing/go.mod"), "module thing\n\ngo 1.25\n")
	write(t, filepath.Join(b.Source, "modules/thing/main.go"), "package main\n")
	write(t, filepath.Join(b.Source, "overlay/patch.txt"), "one")
	r := recipe{Component: "thing", Module: "thing", Patches: map[string]string{"x.go": "patch.txt"}}
	key := func() string {
		key, err := b.key(t.Context(), r)
		assert.NilError(t, err)
		return key
	}
	before := key()
	assert.Equal(t, before, key())

	write(t, filepath.Join(b.Source, "overlay/patch.txt"), "two")
	patched := key()
	assert.Assert(t, patched != before)
	write(t, filepath.Join(b.Source, "modules/thing/main.go"), "package main\n\nfunc main() {}\n")
	assert.Assert(t, key() != patched)
}

func TestVersionWithoutModuleIsRefused(t *testing.T) {
	b, err := New(".", nil)
	assert.NilError(t, err)
	for version, message := range map[string]string{
		"v1.34.0": `module "kubernetes-1.34" builds v1.34.12`,
		"v1.2.3":  `choosing a module for Kubernetes "v1.2.3"`,
		"1.34.4":  "it is not like v1.34.4",
		"v1.34":   "it is not like v1.34.4",
	} {
		_, err := b.kubernetesRecipe(t.Context(), version)
		assert.ErrorContains(t, err, message)
	}
	for _, version := range []string{"v1.34.12", "v1.35.8", "v1.36.5", "v1.37.2"} {
		r, err := b.kubernetesRecipe(t.Context(), version)
		assert.NilError(t, err)
		assert.Equal(t, len(r.Programs), 7)
		assert.Assert(t, slices.Contains(r.LinkFlags, "k8s.io/component-base/version.gitVersion="+version))
	}
}

func TestEtcdFollowsKubernetes(t *testing.T) {
	for version, want := range map[string]string{"v1.34.4": "etcd", "v1.36.5": "etcd", "v1.37.2": "etcd-3.7"} {
		module, err := etcdModule(version)
		assert.NilError(t, err)
		assert.Equal(t, module, want, version)
	}
	for _, version := range []string{"v1.x.1", "1.37.2", ""} {
		_, err := etcdModule(version)
		assert.ErrorContains(t, err, "reading version")
	}
}

func TestModulesBuildTheVersionsOfTheTable(t *testing.T) {
	b, err := New(".", nil)
	assert.NilError(t, err)
	builds := func(module, dependency, version string) {
		t.Helper()
		there, err := b.required(t.Context(), module, dependency)
		assert.NilError(t, err)
		assert.Equal(t, there, "v"+version, "%s in module %s", dependency, module)
	}
	for _, row := range components.Rows() {
		builds("kubernetes-"+row.Minor, "k8s.io/kubernetes", row.Newest)
		etcd, err := etcdModule("v" + row.Newest)
		assert.NilError(t, err)
		builds(etcd, "go.etcd.io/etcd/server/v3", row.Components[components.Etcd])
		builds("containerd", "github.com/containerd/containerd/v2", row.Components[components.Containerd])
		builds("runc", "github.com/opencontainers/runc", row.Components[components.Runc])
		builds("cni", "github.com/containernetworking/plugins", row.Components[components.CNIPlugins])
		builds(hostedModule, "github.com/k3s-io/kine", row.Components[components.Kine])
		builds(hostedModule, "sigs.k8s.io/apiserver-network-proxy", row.Components[components.Konnectivity])
	}
	builds(hostedModule, "github.com/coredns/coredns", components.AddonVersion(components.CoreDNS))
	builds(hostedModule, "github.com/flannel-io/flannel", components.AddonVersion(components.Flannel))
	builds(addonsModule, "go.universe.tf/metallb", components.AddonVersion(components.MetalLB))
	builds("metrics-server", "sigs.k8s.io/metrics-server", components.AddonVersion(components.MetricsServer))
}

func TestArgoIsBuiltInItsListedVersions(t *testing.T) {
	b, err := New(".", nil)
	assert.NilError(t, err)
	assert.DeepEqual(t, ArgoVersions(), []string{"v3.7.18", "v4.1.4"})
	for _, version := range ArgoVersions() {
		r, err := b.argoRecipe(t.Context(), version)
		assert.NilError(t, err)
		assert.Assert(t, slices.Contains(r.LinkFlags, r.Patched+".gitTag="+version), r.LinkFlags)
		_, err = b.key(t.Context(), r)
		assert.NilError(t, err, "all patches are there")
	}
	_, err = b.argoRecipe(t.Context(), "v4.0.0")
	assert.ErrorContains(t, err, `choosing a module for Argo "v4.0.0": it is none of v3.7.18, v4.1.4`)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	assert.NilError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	assert.NilError(t, os.WriteFile(path, []byte(content), 0o644))
}
