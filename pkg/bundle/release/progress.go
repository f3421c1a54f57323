package release

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// reportEvery is the time between two lines about a long download.
const reportEvery = 5 * time.Second

// progress reports how far a Fetch is. Its methods may be called by many goroutines; report is called by one at a time.
type progress struct {
	report  func(string)
	total   int
	ended   chan struct{}
	watched sync.WaitGroup

	mu    sync.Mutex
	done  int
	bytes int64
}

// startProgress begins to report; stop must be called.
func startProgress(ctx context.Context, total int, report func(string)) *progress {
	p := &progress{report: report, total: total, ended: make(chan struct{})}
	if report == nil {
		p.report = func(string) {}
	}
	p.watched.Go(func() { p.watch(ctx) })
	return p
}

func (p *progress) stop() {
	close(p.ended)
	p.watched.Wait()
}

func (p *progress) watch(ctx context.Context) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	var before int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.ended:
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		rate := float64(p.bytes-before) / reportEvery.Seconds()
		before = p.bytes
		p.report(fmt.Sprintf("%d of %d, %d MB, %.0f MB/s", p.done, p.total, p.bytes/1e6, rate/1e6))
		p.mu.Unlock()
	}
}

// finished counts one more component as complete and verified.
func (p *progress) finished(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	p.report(fmt.Sprintf("%d of %d: %s is there and verified", p.done, p.total, what))
}

// say reports an event about a component.
func (p *progress) say(what, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report(what + ": " + text)
}

func (p *progress) saying(what string) func(string) {
	return func(text string) { p.say(what, text) }
}

// counting returns a reader that adds its bytes to the total.
func (p *progress) counting(r io.Reader) io.Reader { return &counted{r: r, progress: p} }

type counted struct {
	r        io.Reader
	progress *progress
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.progress.mu.Lock()
	c.progress.bytes += int64(n)
	c.progress.mu.Unlock()
	return n, err
}
