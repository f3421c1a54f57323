package upgrade

import (
	"context"
	"time"

	"argosy.dev/argosy/pkg/config"
)

// Gate is what lies between a wave and the next one.
type Gate struct {
	// Approve says that a person has to let the next wave begin.
	Approve bool
	// Pause before the next wave begins.
	Pause time.Duration
	// Halted says why nothing more is begun; empty while it is.
	Halted string
}

// After is the gate after a wave. A rollout that is halted neither waits nor asks.
func (c *Conductor) After(ctx context.Context, wave Wave) (Gate, error) {
	machines, _, err := c.snapshot(ctx, nil, time.Now())
	if err != nil {
		return Gate{}, err
	}
	if ended := c.ended(machines, wave); ended != "" {
		return Gate{Halted: ended}, nil
	}
	policy := c.Cluster.Fleet.Upgrade
	return Gate{
		Approve: policy.Approval == config.ApproveAlways || policy.Approval == config.ApproveCanaries && wave.Canary,
		Pause:   policy.Pause.Duration,
	}, nil
}
