package build

import (
	"context"
	"fmt"
	"path/filepath"
)

const (
	argoModule = "github.com/argoproj/argo-workflows/v3"
	// argoCommit is where the tag v3.7.18 points, as the module proxy tells it. Only with a commit do Argo's
	// programs take themselves for a release.
	argoCommit = "66e32e5cc367f223e2ecf4fbe852b95eaed83034"
)

// Argo returns the folder with workflow-controller, argoexec and argo, and beneath crds/ Argo's complete custom
// resource definitions. They are too large for a client-side "kubectl apply": apply them with --server-side.
func (b *Builder) Argo(ctx context.Context) (string, error) {
	version, err := b.required(ctx, "argo", argoModule)
	if err != nil {
		return "", err
	}
	r := recipe{
		Component: "argo",
		Module:    "argo",
		Version:   version,
		Programs: map[string]string{
			"argo":                argoModule + "/cmd/argo",
			"argoexec":            argoModule + "/cmd/argoexec",
			"workflow-controller": argoModule + "/cmd/workflow-controller",
		},
		LinkFlags: []string{
			"-X", argoModule + ".version=" + version,
			"-X", argoModule + ".gitTag=" + version,
			"-X", argoModule + ".gitCommit=" + argoCommit,
			"-X", argoModule + ".gitTreeState=clean",
			"-X", argoModule + ".buildDate=1970-01-01T00:00:00Z",
		},
		Patched: argoModule,
		// The module lacks both: the first is a symbolic link in git, which module archives leave out, the second
		// is made by a build of the web pages.
		Patches: map[string]string{
			"workflow/executor/osspecific/signal_linux.go": "argo/signal_linux.go.txt",
			"ui/dist/app/index.html":                       "argo/index.html",
		},
		Versions: []versionCheck{
			{Call: []string{"argo", "version", "--short"}, Holds: "argo: " + version},
			{Call: []string{"argoexec", "version", "--short"}, Holds: "argoexec: " + version},
			{Call: []string{"workflow-controller", "version", "--short"}, Holds: "workflow-controller: " + version},
		},
	}
	return b.programs(ctx, r, func(folder string) error { return b.argoDefinitions(ctx, r, folder) })
}

// argoDefinitions copies the definitions alone, so that "kubectl apply" takes the whole folder.
func (b *Builder) argoDefinitions(ctx context.Context, r recipe, folder string) error {
	module, err := b.dependencyFolder(ctx, r, argoModule)
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
