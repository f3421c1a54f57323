package build

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// heartbeat is the interval between lines of a running build.
const heartbeat = 15 * time.Second

// work is a kind of work in the words of its lines.
type work struct{ doing, done string }

var (
	building = work{"building", "built"}
	fetching = work{"fetching", "fetched"}
)

// progress tells of one build in lines of its own, so that the lines of several builds may mix.
type progress struct {
	log      io.Writer
	title    string
	work     work
	started  time.Time
	packages atomic.Int64
	quit     chan struct{}
	once     sync.Once
	beating  sync.WaitGroup
}

func startProgress(log io.Writer, title string, kind work) *progress {
	p := &progress{log: log, title: title, work: kind, started: time.Now(), quit: make(chan struct{})}
	fmt.Fprintf(log, "%s: %s\n", title, kind.doing)
	p.beating.Go(p.beat)
	return p
}

func (p *progress) beat() {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-ticker.C:
			line := fmt.Sprintf("%s: %s, %.0f s", p.title, p.work.doing, time.Since(p.started).Seconds())
			if n := p.packages.Load(); n > 0 {
				line += fmt.Sprintf(", %d packages compiled", n)
			}
			fmt.Fprintln(p.log, line)
		}
	}
}

// stop ends the heartbeat and waits until no more line of it can come.
func (p *progress) stop() {
	p.once.Do(func() { close(p.quit) })
	p.beating.Wait()
}

func (p *progress) done(folder string) {
	fmt.Fprintf(p.log, "%s: %s in %.0f s, %.1f MB\n", p.title, p.work.done, time.Since(p.started).Seconds(),
		megabytes(folder))
}

func megabytes(folder string) float64 {
	var sum int64
	// Unreadable files count as nothing: the number is for the reader of the log alone.
	_ = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return float64(sum) / 1e6
}
