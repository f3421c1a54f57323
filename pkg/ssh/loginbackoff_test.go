package ssh

import (
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

func TestTheWaitAfterAFailedLoginGrows(t *testing.T) {
	var p loginBackoff
	now := time.Unix(1_000_000, 0)
	for _, wait := range []time.Duration{30 * time.Second, 2 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
		assert.NilError(t, p.blocked(now))
		p.record(errors.New("refused"), now)
		assert.ErrorContains(t, p.blocked(now), "refused; not tried again for another "+wait.String())
		assert.Assert(t, p.blocked(now.Add(wait-time.Second)) != nil)
		now = now.Add(wait)
	}
	p.reset()
	p.record(errors.New("refused"), now)
	assert.NilError(t, p.blocked(now.Add(30*time.Second)))
}
