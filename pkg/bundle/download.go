package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/fault"
)

// errStalled: the server holds the connection and sends nothing.
var errStalled = errors.New("the server has stopped sending")

// download is a response's body. It ends when it stalls, and its errors have a class.
type download struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	url    string
	stall  time.Duration
}

// Read waits for bytes, but not longer than stall. The time that the consumer takes between two calls does not count.
func (d *download) Read(p []byte) (int, error) {
	timer := time.AfterFunc(d.stall, func() { d.cancel(errStalled) })
	n, err := d.body.Read(p)
	timer.Stop()
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	if errors.Is(context.Cause(d.ctx), errStalled) {
		return n, fault.As(fault.Transient, fmt.Errorf("reading %q: %w for %s", d.url, errStalled, d.stall))
	}
	return n, unanswered(d.ctx, fmt.Errorf("reading %q: %w", d.url, err))
}

// Close ends the download.
func (d *download) Close() error {
	d.cancel(nil)
	if err := d.body.Close(); err != nil {
		return fmt.Errorf("ending the download of %q: %w", d.url, err)
	}
	return nil
}

// start brings a response to offset and checks that it is of the file that was found before.
func (d *download) start(response *http.Response, offset, size int64) error {
	skip, total := offset, response.ContentLength
	if response.StatusCode == http.StatusPartialContent {
		var first int64
		if first, total = contentRange(response); first != offset {
			return fmt.Errorf("reading %q from byte %d: the server sends %q", d.url, offset, response.Header.Get("Content-Range"))
		}
		skip = 0
	}
	if size > 0 && total > 0 && total != size {
		return fmt.Errorf("reading %q: it has %d bytes now, and had %d before; somebody replaced it, start again", d.url, total, size)
	}
	if skip > 0 {
		if _, err := io.CopyN(io.Discard, d, skip); errors.Is(err, io.EOF) {
			return fmt.Errorf("reading %q: it ends before byte %d", d.url, offset)
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
