package ssh

import (
	"fmt"
	"sync"
	"time"
)

// penalty keeps failed logins apart: servers count them, lock accounts and block addresses.
type penalty struct {
	mu     sync.Mutex
	last   error
	until  time.Time
	failed int
}

// penaltySteps is how long the same login is not tried again after its first, second and every further failure.
func penaltySteps() []time.Duration {
	return []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute}
}

func (p *penalty) record(err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	steps := penaltySteps()
	p.last, p.until = err, now.Add(steps[min(p.failed, len(steps)-1)])
	p.failed++
}

func (p *penalty) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.failed = nil, 0
}

// refuses returns the last failure while it is too early to try again.
func (p *penalty) refuses(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || !now.Before(p.until) {
		return nil
	}
	return fmt.Errorf("%w; not tried again for another %s", p.last, p.until.Sub(now).Round(time.Second))
}
