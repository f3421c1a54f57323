package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"argosy.dev/argosy/pkg/errclass"
)

// Receive unpacks the archive from r into dir while it arrives, and compares its digest with want at the end. A damaged
// or different archive gives a *DigestError (permanent), also if unpacking failed on the damage before. Errors of r are
// returned as they are. A *WriteError ends it at once, without the rest of the archive.
func Receive(ctx context.Context, r io.Reader, format Format, want, dir string, hooks ...Hooks) ([]File, error) {
	source := &hashed{r: r, sum: sha256.New()}
	files, err := Unpack(ctx, source, format, dir, hooks...)
	var disk *WriteError
	if errors.As(err, &disk) {
		return nil, err
	}
	if source.err != nil && !errors.Is(source.err, io.EOF) {
		return nil, source.err
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		if _, drained := io.Copy(io.Discard, source); drained != nil {
			return nil, drained
		}
	}
	if got := hex.EncodeToString(source.sum.Sum(nil)); got != want {
		return nil, errclass.With(errclass.Permanent, &DigestError{Want: want, Got: got})
	}
	return files, err
}

// hashed hashes the bytes that are read through it, and keeps the error of reading. It serves one goroutine at a time.
type hashed struct {
	r   io.Reader
	sum hash.Hash
	err error
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.sum.Write(p[:n])
	if err != nil {
		h.err = err
	}
	return n, err
}
