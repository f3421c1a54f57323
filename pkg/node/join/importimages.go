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
	all, imported, err := images.Check(ctx, c, importsInto(c.Operation.Join), sources)
	return holds && all, detail + "; " + imported, err
}

func applyImages(ctx context.Context, c *node.Context) (string, error) {
	holds, detail, err := checkPause(ctx, c)
	if err == nil && !holds {
		detail, err = applyPause(ctx, c)
	}
	sources := c.Operation.Join.ImportImages
	if err != nil || len(sources) == 0 {
		return detail, err
	}
	imported, err := images.Apply(ctx, c, importsInto(c.Operation.Join), sources)
	return detail + "; " + imported, err
}

// importsInto is the runtime that the node will use.
func importsInto(j *spec.Join) images.Runtime {
	return images.Runtime{BinariesPath: j.BinariesPath, CRISocket: j.Registration.CRISocket}
}
