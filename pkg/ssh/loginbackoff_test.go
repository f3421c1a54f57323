package ssh

import (
	"errors"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

func TestTheWaitAfterAFailedLoginGrows(t *testing.T) {
	for startingUp, longest := range map[bool]time.Duration{false: 10 * time.Minute, true: 4 * time.Minute} {
		var p loginBackoff
		now := time.Unix(1_000_000, 0)
		for _, wait := range []time.Duration{30 * time.Second, 2 * time.Minute, longest, longest} {
			assert.NilError(t, p.blocked(now))
			p.record(errors.New("refused"), now, loginSteps(startingUp))
			assert.ErrorContains(t, p.blocked(now), "refused; not tried again for another "+wait.String())
			assert.Assert(t, p.blocked(now.Add(wait-time.Second)) != nil)
			now = now.Add(wait)
		}
		p.reset()
		p.record(errors.New("refused"), now, loginSteps(startingUp))
		assert.NilError(t, p.blocked(now.Add(30*time.Second)))
	}
}
