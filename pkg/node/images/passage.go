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

// passage is the way of one archive from its source to the runtime. It reads the archive as it comes, packed or not.
type passage struct {
	work    *work
	archive archive
	what    string

	ctx  context.Context
	from io.Reader
	// hash of the archive, where somebody vouches for one.
	hash hash.Hash
	// failed is why the source could not be read any further.
	failed error
	// named are the images in the archive, once it is known to be sound, and before what the runtime had by their names
	// then.
	named, before map[string]string
}

var _ judge = (*passage)(nil)

// begin begins with the archive's first byte, also after it was lost on the way.
func (p *passage) begin(ctx context.Context, from io.Reader) {
	p.ctx, p.from, p.failed, p.named, p.before = ctx, from, nil, nil, nil
	if p.vouched() {
		p.hash = sha256.New()
	}
}

// through passes the archive to the runtime.
func (p *passage) through(runtime io.Writer) error {
	plain, stop, err := decompress(p)
	if err != nil {
		return p.blame(err)
	}
	defer stop()
	if err := pass(plain, runtime, p); err != nil {
		return err
	}
	p.work.context.SetMessage("unpacking %s", p.what)
	return nil
}

// Read reads the archive.
func (p *passage) Read(to []byte) (int, error) {
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

// blame: what came is damaged, unless it did not come.
func (p *passage) blame(err error) error {
	if p.failed != nil {
		return fmt.Errorf("reading it: %w", p.failed)
	}
	return corrupt("reading it: %w", err)
}

func (p *passage) vouched() bool { return p.archive.sent != nil && p.archive.sent.SHA256 != "" }

// sound says whether all that came is what should come, and remembers what the runtime has before it gets to know.
func (p *passage) sound(named map[string]string) error {
	// Unpacking does not read what follows the packed stream.
	if _, err := io.Copy(io.Discard, p); err != nil {
		return p.blame(err)
	}
	if p.vouched() {
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

// fresh are the images that the runtime can have only from this archive.
func (p *passage) fresh() []string {
	var names []string
	for name := range p.named {
		if p.before[name] == "" {
			names = append(names, name)
		}
	}
	return names
}
