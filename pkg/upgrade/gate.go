package upgrade

import (
	"context"
	"time"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Gate is the pause and the approval between a wave and the next one.
type Gate struct {
	// Approve is true where a person has to let the next wave begin.
	Approve bool
	// Pause before the next wave begins.
	Pause time.Duration
	// Halt is why no machine begins any more; nil while one may.
	Halt *rollout.Halt
}

// After returns the gate after a wave of a plan. A rollout that is halted has neither a pause nor an approval.
func (u *Upgrader) After(ctx context.Context, plan rollout.Plan, wave rollout.Wave) (Gate, error) {
	now, err := u.now(ctx, time.Now())
	if err != nil {
		return Gate{}, err
	}
	if halt := rollout.Halted(plan, now); halt != nil {
		return Gate{Halt: halt}, nil
	}
	policy := u.Cluster.Fleet.Upgrade
	return Gate{
		Approve: policy.Approval == config.ApproveAlways || policy.Approval == config.ApproveCanaries && wave.Canary,
		Pause:   policy.Pause.Duration,
	}, nil
}
