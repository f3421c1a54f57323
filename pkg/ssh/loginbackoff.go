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

// loginSteps is how long the same login is not tried again after its first, second and every further failure. A machine
// that starts up gets at most four logins in ten minutes: fail2ban blocks an address at the fifth failure.
func loginSteps(startingUp bool) []time.Duration {
	steps := []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute}
	if startingUp {
		steps[2] = 4 * time.Minute
	}
	return steps
}

// record keeps a failure, and blocks the login for the step of steps that its number has.
func (p *loginBackoff) record(err error, now time.Time, steps []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
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
