package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// errStalled: the server holds the connection and sends nothing.
var errStalled = errors.New("the server has stopped sending")

// body is a response's body. It ends when it stalls, and its errors have a class.
type body struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	url    string
	stall  time.Duration
}

// Read waits for bytes, but not longer than stall. The time that the consumer takes between two calls does not count.
func (b *body) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.stall, func() { b.cancel(errStalled) })
	n, err := b.body.Read(p)
	timer.Stop()
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if errors.Is(context.Cause(b.ctx), errStalled) {
		return n, errclass.Errorf(errclass.Transient, "reading %q: %w for %s", b.url, errStalled, b.stall)
	}
	return n, requestError(b.ctx, fmt.Errorf("reading %q: %w", b.url, err))
}

// Close ends the download.
func (b *body) Close() error {
	b.cancel(nil)
	if err := b.body.Close(); err != nil {
		return fmt.Errorf("ending the download of %q: %w", b.url, err)
	}
	return nil
}

// skipTo reads a response up to offset, and checks that it is of the file that was found before.
func (b *body) skipTo(response *http.Response, offset, size int64) error {
	skip, total := offset, response.ContentLength
	if response.StatusCode == http.StatusPartialContent {
		var first int64
		if first, total = contentRange(response); first != offset {
			return fmt.Errorf("reading %q from byte %d: the server sends %q", b.url, offset,
				response.Header.Get("Content-Range"))
		}
		skip = 0
	}
	if size > 0 && total > 0 && total != size {
		return fmt.Errorf("reading %q: it has %d bytes now and had %d before: it was replaced "+
			"meanwhile; run the workflow again",
			b.url, total, size)
	}
	if skip > 0 {
		if _, err := io.CopyN(io.Discard, b, skip); errors.Is(err, io.EOF) {
			return fmt.Errorf("reading %q: it ends before byte %d", b.url, offset)
		} else if err != nil {
			return fmt.Errorf("skipping to byte %d: %w", offset, err)
		}
	}
	return nil
}

// contentRange reads "bytes 5-9/10": the first byte, and the size of the whole, 0 when the server does not know it.
func contentRange(response *http.Response) (first, total int64) {
	span, whole, _ := strings.Cut(strings.TrimPrefix(response.Header.Get("Content-Range"), "bytes "), "/")
	from, _, _ := strings.Cut(span, "-")
	first, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return -1, 0
	}
	if total, err = strconv.ParseInt(whole, 10, 64); err != nil {
		return first, 0
	}
	return first, total
}
