package upgrade

import "time"

// RenewEvery has the Lease renewed more often than in a rollout, so that no test waits for it.
func (u *Upgrader) RenewEvery(span time.Duration) { u.lease.renews = span }
