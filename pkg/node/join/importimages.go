package join

import (
	"context"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/images"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkImages holds when the pause image and the images to import are in the container runtime.
func checkImages(ctx context.Context, c *node.Context) (bool, string, error) {
	holds, detail, err := checkPause(ctx, c)
	sources := c.Operation.Join.ImportImages
	if err != nil || len(sources) == 0 {
		return holds, detail, err
	}
	all, imported, err := images.Check(ctx, c, importRuntime(c.Operation.Join), sources)
	return holds && all, detail + "; " + imported, err
}

// applyImages imports the pause image and the others. It checks the pause image again at the end, since an import may
// have it.
func applyImages(ctx context.Context, c *node.Context) (string, error) {
	detail, err := importPause(ctx, c)
	sources := c.Operation.Join.ImportImages
	if err != nil || len(sources) == 0 {
		return detail, err
	}
	imported, err := images.Apply(ctx, c, importRuntime(c.Operation.Join), sources)
	if err != nil {
		return detail + "; " + imported, err
	}
	detail, err = importPause(ctx, c)
	return detail + "; " + imported, err
}

func importPause(ctx context.Context, c *node.Context) (string, error) {
	holds, detail, err := checkPause(ctx, c)
	if err != nil || holds {
		return detail, err
	}
	return applyPause(ctx, c)
}

// importRuntime returns the container runtime of the node.
func importRuntime(j *spec.Join) images.Runtime {
	return images.Runtime{BinariesPath: j.BinariesPath, CRISocket: j.Registration.CRISocket}
}
