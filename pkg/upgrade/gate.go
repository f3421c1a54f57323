package upgrade

import (
	"context"
	"slices"
	"time"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Gate is the pause and the approval between a wave and the next one.
type Gate struct {
	// Approve is true where a person has to let the next wave begin.
	Approve bool
	// Unproven is true where the canaries have ended and none of them was upgraded: then a person has to let the next
	// wave begin, whatever upgrade.approval is.
	Unproven bool
	// Pause before the next wave begins.
	Pause time.Duration
	// Halt is why no machine begins any more; nil while one may.
	Halt *rollout.Halt
}

// After returns the gate after a wave of a plan. A rollout that is halted has neither a pause nor an approval.
func (u *Upgrader) After(ctx context.Context, plan rollout.Plan, wave rollout.Wave) (Gate, error) {
	next := slices.IndexFunc(plan.Waves, func(w rollout.Wave) bool { return w.Name == wave.Name }) + 1
	now, err := u.situation(ctx, u.situations.shared(plan), next, time.Now())
	if err != nil {
		return Gate{}, err
	}
	if halt := now.Halt(); halt != nil {
		return Gate{Halt: halt}, nil
	}
	policy := u.Cluster.Fleet.Upgrade
	last := wave.Canary && (next >= len(plan.Waves) || !plan.Waves[next].Canary)
	unproven := last && now.Unproven(u.Version)
	return Gate{
		Approve: policy.Approval == config.ApproveAlways || policy.Approval == config.ApproveCanaries && wave.Canary ||
			unproven,
		Unproven: unproven,
		Pause:    policy.Pause.Duration,
	}, nil
}
