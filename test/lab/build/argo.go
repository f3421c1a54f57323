package build

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// argoSource is where a release of Argo Workflows comes from.
type argoSource struct {
	// folder is beneath modules/ and overlay/, module is Argo's own name.
	folder, module string
	// commit is where the tag points, as the module proxy tells it. Only with a commit do Argo's programs take
	// themselves for a release.
	commit string
}

// argoSources are the releases that can be built.
var argoSources = map[string]argoSource{
	"v3.7.18": {"argo", "github.com/argoproj/argo-workflows/v3", "66e32e5cc367f223e2ecf4fbe852b95eaed83034"},
	"v4.1.4":  {"argo-4.1", "github.com/argoproj/argo-workflows/v4", "b5b4d665e9be9b87c115f943584c3e0ae96fe073"},
}

// ArgoVersions returns the versions of Argo Workflows that can be built, oldest first.
func ArgoVersions() []string { return slices.Sorted(maps.Keys(argoSources)) }

// Argo returns the folder with workflow-controller, argoexec and argo of the version, "v4.1.4", and beneath crds/ its
// complete custom resource definitions. They are too large for a client-side "kubectl apply": apply them with
// --server-side.
func (b *Builder) Argo(ctx context.Context, version string) (string, error) {
	r, err := b.argoRecipe(ctx, version)
	if err != nil {
		return "", err
	}
	return b.programs(ctx, r, func(folder string) error { return b.argoDefinitions(ctx, r, folder) })
}

func (b *Builder) argoRecipe(ctx context.Context, version string) (recipe, error) {
	source, known := argoSources[version]
	if !known {
		return recipe{}, fmt.Errorf("choosing a module for Argo %q: it is none of %s", version,
			strings.Join(ArgoVersions(), ", "))
	}
	there, err := b.required(ctx, source.folder, source.module)
	if err != nil {
		return recipe{}, err
	}
	if there != version {
		return recipe{}, fmt.Errorf("choosing a module for Argo %q: module %q builds %s", version, source.folder, there)
	}
	return recipe{
		Component: "argo",
		Module:    source.folder,
		Version:   version,
		Programs: map[string]string{
			"argo":                source.module + "/cmd/argo",
			"argoexec":            source.module + "/cmd/argoexec",
			"workflow-controller": source.module + "/cmd/workflow-controller",
		},
		Official: []string{"argocli", "argoexec", "workflow-controller"},
		LinkFlags: []string{
			"-X", source.module + ".version=" + version,
			"-X", source.module + ".gitTag=" + version,
			"-X", source.module + ".gitCommit=" + source.commit,
			"-X", source.module + ".gitTreeState=clean",
			"-X", source.module + ".buildDate=1970-01-01T00:00:00Z",
		},
		Patched: source.module,
		// The module lacks both: the first is a symbolic link in git, which module archives leave out, the second
		// is made by a build of the web pages.
		Patches: map[string]string{
			"workflow/executor/osspecific/signal_linux.go": source.folder + "/signal_linux.go.txt",
			"ui/dist/app/index.html":                       "argo/index.html",
		},
		Versions: []versionCheck{
			{Call: []string{"argo", "version", "--short"}, Holds: "argo: " + version},
			{Call: []string{"argoexec", "version", "--short"}, Holds: "argoexec: " + version},
			{Call: []string{"workflow-controller", "version", "--short"}, Holds: "workflow-controller: " + version},
		},
	}, nil
}

// argoDefinitions copies the definitions alone, so that "kubectl apply" takes the whole folder.
func (b *Builder) argoDefinitions(ctx context.Context, r recipe, folder string) error {
	module, err := b.dependencyFolder(ctx, r, r.Patched)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(module, "manifests/base/crds/full/argoproj.io_*.yaml"))
	if err != nil {
		return fmt.Errorf("looking for Argo's definitions in %q: %w", module, err)
	}
	if len(files) == 0 {
		return fmt.Errorf("looking for Argo's definitions in %q: there are none", module)
	}
	for _, file := range files {
		if err := copyFile(file, filepath.Join(folder, "crds", filepath.Base(file)), 0o644); err != nil {
			return err
		}
	}
	return nil
}
