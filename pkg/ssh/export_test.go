package ssh

import "time"

// KeepIdle has the pool keep fewer idle connections than usual, and count them as idle at once.
func (p *Pool) KeepIdle(most int) { p.maxIdle, p.idleAfter = most, time.Nanosecond }
