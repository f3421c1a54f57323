package join

import (
	"io"
	"time"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/spec"
)

// rateOver is the time over which a transfer's rate is averaged.
const rateOver = 3 * time.Second

// counted reports how much was read through it.
type counted struct {
	r       io.Reader
	context *node.Context
	total   int64

	done   int64
	points []point
}

// point is how far the transfer was at a time.
type point struct {
	at   time.Time
	done int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.done += int64(n)
		c.report(time.Now())
	}
	return n, err
}

func (c *counted) report(now time.Time) {
	if last := len(c.points) - 1; last < 0 || now.Sub(c.points[last].at) > 100*time.Millisecond {
		c.points = append(c.points, point{now, c.done})
	}
	for len(c.points) > 1 && now.Sub(c.points[0].at) > rateOver {
		c.points = c.points[1:]
	}
	progress := spec.Progress{Done: c.done, Total: c.total}
	if elapsed := now.Sub(c.points[0].at).Seconds(); elapsed > 0 {
		progress.Rate = int64(float64(c.done-c.points[0].done) / elapsed)
	}
	c.context.Progress(progress)
}
