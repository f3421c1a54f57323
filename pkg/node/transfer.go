package node

import (
	"io"
	"time"

	"argosy.dev/argosy/pkg/node/spec"
)

// rateWindow is the time over which a transfer's rate is averaged, up to now.
const rateWindow = 3 * time.Second

// ProgressReader returns a reader of r that reports the bytes read as the phase's progress. total is 0 when unknown.
// what names the transfer in a phase that has several.
func ProgressReader(c *Context, r io.Reader, total int64, what string) io.Reader {
	return &progressReader{r: r, context: c, total: total, what: what}
}

type progressReader struct {
	r       io.Reader
	context *Context
	total   int64
	what    string

	done   int64
	points []point
}

// point is the number of bytes at a time.
type point struct {
	at   time.Time
	done int64
}

func (c *progressReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.done += int64(n)
		c.report(time.Now())
	}
	return n, err
}

func (c *progressReader) report(now time.Time) {
	if last := len(c.points) - 1; last < 0 || now.Sub(c.points[last].at) > 100*time.Millisecond {
		c.points = append(c.points, point{now, c.done})
	}
	for len(c.points) > 1 && now.Sub(c.points[0].at) > rateWindow {
		c.points = c.points[1:]
	}
	progress := spec.Progress{Done: c.done, Total: c.total, What: c.what}
	if elapsed := now.Sub(c.points[0].at).Seconds(); elapsed > 0 {
		progress.Rate = int64(float64(c.done-c.points[0].done) / elapsed)
	}
	c.context.Progress(progress)
}
