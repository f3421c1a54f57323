package join

import (
	"context"
	"io"

	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	node "argosy.dev/argosy/pkg/node/spread"
)

// spreads reports whether the machine gets the bundle and archives in pieces, from other machines too. An operation
// that runs already goes on as it began.
func (j *Joiner) spreads(found Inspection) bool {
	size := found.BundleSize()
	return images.Spreads(j.Cluster, j.Spread) && !found.Running() && size > 0 && size <= node.MaxSize
}

// opener returns the source of the operation's feed, and the function that ends that and returns remarks on it.
func (j *Joiner) opener(found Inspection, op spec.Operation, status spec.Status) (open feed.Open,
	leave func() []string,
) {
	if j.Spread == nil || !status.Spread {
		return j.openImage, func() []string { return nil }
	}
	session := images.EnterSpread(j.Log, j.Cluster, j.Spread, found.machine, op.Join.ImportImages, j.openImage)
	wanted := op.Join.Bundle
	wanted.URL = found.url
	session.Offer(node.BundleKey(wanted.SHA256), wanted.Size, func(ctx context.Context, offset int64) (io.ReadCloser,
		error,
	) {
		return j.Repository.Open(ctx, wanted, offset)
	})
	return session.Open, func() []string {
		session.Leave()
		return session.Remarks()
	}
}

// openImage opens an archive of images by its key.
func (j *Joiner) openImage(ctx context.Context, key string) (io.ReadCloser, error) {
	return j.Images.Open(ctx, key)
}
