package join

import (
	"context"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/images"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkImages holds when the pause image and those that are to be imported are there.
func checkImages(ctx context.Context, c *node.Context) (bool, string, error) {
	holds, detail, err := checkPause(ctx, c)
	sources := c.Operation.Join.ImportImages
	if err != nil || len(sources) == 0 {
		return holds, detail, err
	}
	all, imported, err := images.Check(ctx, c, importRuntime(c.Operation.Join), sources)
	return holds && all, detail + "; " + imported, err
}

// applyImages looks at the pause image once more after the imports, which may have brought it.
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

// importRuntime is the runtime that the node will use.
func importRuntime(j *spec.Join) images.Runtime {
	return images.Runtime{BinariesPath: j.BinariesPath, CRISocket: j.Registration.CRISocket}
}
