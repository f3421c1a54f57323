package release

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"argosy.dev/argosy/internal/fetch"
	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/errclass"
)

// maxSums bounds a file of checksums; the longest, etcd's, has some 4 kB.
const maxSums = 1 << 20

// checksum returns the digest that the project publishes for w.
func (f *fetcher) checksum(ctx context.Context, w wanted) (string, error) {
	text, err := f.sumsFile(ctx, w)
	var status *fetch.StatusError
	switch {
	case errors.As(err, &status) && status.Missing():
		return "", errclass.Errorf(errclass.Configuration, "reading its checksum: %w; what can't be verified is not "+
			"packed", advise(err))
	case err != nil:
		return "", fmt.Errorf("reading its checksum: %w", err)
	}
	digest, err := sumOf(text, path.Base(w.url))
	if err != nil {
		return "", errclass.Errorf(errclass.Configuration, "reading its checksum from %q: %w; what can't be verified "+
			"is not packed", w.sums, err)
	}
	return digest, nil
}

// sumsFile reads each file of checksums once.
func (f *fetcher) sumsFile(ctx context.Context, w wanted) (string, error) {
	if text, known := f.sums.Load(w.sums); known {
		return text.(string), nil
	}
	address, err := f.mirrors.address(w.sums)
	if err != nil {
		return "", err
	}
	var text []byte
	err = retrying(ctx, f.progress.saying(w.String()), func(ctx context.Context) (moved int64, err error) {
		text, err = f.client.Text(ctx, address, maxSums)
		return 0, err
	})
	if err != nil {
		return "", err
	}
	f.sums.Store(w.sums, string(text))
	return string(text), nil
}

// sumOf returns the digest of a file, from the three forms in which checksums are published: the digest alone, the
// output of sha256sum, and the latter with the folders of the machine that built the release.
func sumOf(text, name string) (string, error) {
	if fields := strings.Fields(text); len(fields) == 1 {
		text = fields[0] + "  " + name
	}
	var lines strings.Builder
	for line := range strings.Lines(text) {
		digest, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		file = path.Base(strings.TrimPrefix(strings.TrimSpace(file), "*"))
		fmt.Fprintf(&lines, "%s  %s\n", digest, file)
	}
	digest, err := bundle.SumOf([]byte(lines.String()), name)
	if err == nil && digest == "" {
		err = fmt.Errorf("it does not name %q", name)
	}
	return digest, err
}
