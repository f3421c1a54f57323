package ssh

import (
	"fmt"
	"sync"
	"time"
)

// loginBackoff delays a login that failed before: servers count failed logins, lock accounts and block addresses.
type loginBackoff struct {
	mu     sync.Mutex
	last   error
	until  time.Time
	failed int
}

// backoffSteps is how long the same login is not tried again after its first, second and every further failure.
func backoffSteps() []time.Duration {
	return []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute}
}

func (p *loginBackoff) record(err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	steps := backoffSteps()
	p.last, p.until = err, now.Add(steps[min(p.failed, len(steps)-1)])
	p.failed++
}

func (p *loginBackoff) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.failed = nil, 0
}

// blocked returns the last failure while it is too early to try again, else nil.
func (p *loginBackoff) blocked(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || !now.Before(p.until) {
		return nil
	}
	return fmt.Errorf("%w; not tried again for another %s", p.last, p.until.Sub(now).Round(time.Second))
}
