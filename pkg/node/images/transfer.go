package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	"argosy.dev/argosy/pkg/errclass"
)

// transfer transfers one archive from its source to the runtime. It reads the archive as it comes, packed or not.
type transfer struct {
	work    *work
	archive archive
	what    string

	ctx  context.Context
	from io.Reader
	// hash is the archive's, where its source has a digest for it.
	hash hash.Hash
	// failed is the error of reading the source.
	failed error
	// named are the images in the archive, set once it is checked, and before are those that the runtime had by these
	// names at that time.
	named, before map[string]string
}

var _ verifier = (*transfer)(nil)

// begin starts with the archive's first byte, also after a lost connection.
func (p *transfer) begin(ctx context.Context, from io.Reader) {
	p.ctx, p.from, p.failed, p.named, p.before = ctx, from, nil, nil, nil
	if p.hasDigest() {
		p.hash = sha256.New()
	}
}

// copyTo passes the archive to the runtime.
func (p *transfer) copyTo(runtime io.Writer) error {
	plain, stop, err := decompress(p)
	if err != nil {
		return p.readError(err)
	}
	defer stop()
	if err := pass(plain, runtime, p); err != nil {
		return err
	}
	p.work.context.SetMessage("unpacking %s", p.what)
	return nil
}

// Read reads the archive.
func (p *transfer) Read(to []byte) (int, error) {
	if p.ctx.Err() != nil {
		p.failed = context.Cause(p.ctx)
		return 0, p.failed
	}
	n, err := p.from.Read(to)
	if p.hash != nil {
		p.hash.Write(to[:n])
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.failed = err
	}
	return n, err
}

// readError returns the source's error if there was one, else that the archive is damaged.
func (p *transfer) readError(err error) error {
	if p.failed != nil {
		return fmt.Errorf("reading it: %w", p.failed)
	}
	return corrupt("reading it: %w", err)
}

func (p *transfer) hasDigest() bool { return p.archive.sent != nil && p.archive.sent.SHA256 != "" }

// verify checks the archive's size, digest and images, and notes which of these the runtime has before the import.
func (p *transfer) verify(named map[string]string) error {
	// Unpacking does not read the bytes after the packed stream.
	if _, err := io.Copy(io.Discard, p); err != nil {
		return p.readError(err)
	}
	if p.hasDigest() {
		if sum := hex.EncodeToString(p.hash.Sum(nil)); sum != p.archive.sent.SHA256 {
			return errclass.Errorf(errclass.Permanent, "its sha256 is %s, and %s was asked for; nothing of it was "+
				"imported", sum, p.archive.sent.SHA256)
		}
	}
	before, err := p.work.into.digests(p.ctx, p.work.context, slices.Sorted(maps.Keys(named)))
	if err != nil {
		return err
	}
	p.named, p.before = named, before
	return nil
}

// fresh returns the images that the runtime can have only from this archive.
func (p *transfer) fresh() []string {
	var names []string
	for name := range p.named {
		if p.before[name] == "" {
			names = append(names, name)
		}
	}
	return names
}
