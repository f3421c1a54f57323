package machine

import (
	"context"
	"fmt"
	"io"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/ssh"
)

// PushBundle streams a bundle to where the operation on the machine waits for it: <sha256>.tar.gz.partial in
// spec.BundlesDir. The operation follows the growing file, verifies it and gives it its name. open opens the bundle at
// an offset; the part that an earlier push sent is not sent again. A lost connection is a transient error.
func (m *Machine) PushBundle(ctx context.Context, bundle spec.Bundle, open func(offset int64) (io.ReadCloser, error),
	progress func(done, total int64),
) error {
	path, err := m.bundlePath(bundle)
	if err != nil {
		return fmt.Errorf("pushing a bundle to machine %q: %w", m.name, err)
	}
	client, err := m.connect(ctx)
	if err != nil {
		return fmt.Errorf("pushing bundle %q to machine %q: connecting: %w", bundle.Name, m.name, err)
	}
	_, err = client.Upload(ctx, ssh.Upload{
		Source: open, Size: bundle.Size, SHA256: bundle.SHA256,
		Path: path, DirMode: 0o700, LeavePartial: true, Progress: progress,
	})
	if err != nil {
		return fmt.Errorf("pushing bundle %q to machine %q: %w", bundle.Name, m.name, err)
	}
	return nil
}
