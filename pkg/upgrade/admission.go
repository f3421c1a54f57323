package upgrade

import (
	"context"
	"time"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// admit waits until the planner lets the machine begin, and notes at its node that it has. One that has begun in this
// rollout goes on. The error is a *rollout.Halt where the machine is left as it is.
func (u *Upgrader) admit(ctx context.Context, machine config.Machine, plan *rollout.Plan,
	progress operation.Progress,
) error {
	last, passing := "", time.Time{}
	for notBefore := time.Now(); ; {
		decision, err := u.decide(ctx, machine, plan, notBefore)
		if err != nil {
			return err
		}
		switch decision.Verdict {
		case rollout.Start:
			return nil
		case rollout.Leave:
			if passing.IsZero() {
				passing = time.Now()
			}
			if !decision.MayPass || time.Since(passing) > u.Cluster.Fleet.Limits.ReadyTimeout.Duration {
				return &rollout.Halt{Reason: decision.Reason, Allowed: decision.Allowed}
			}
		}
		if decision.Reason != last {
			last = decision.Reason
			operation.Reportf(progress, "%s", last)
			if decision.Paused {
				u.uncordonPaused(ctx, machine)
			}
		}
		next, ended := u.view.nextTick()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ended: // the nodes of the last list and this process's own notes tell enough
		case <-time.After(time.Until(next)):
			notBefore = next
		}
	}
}

// decide asks the planner whether a machine may begin, by nodes that were listed at notBefore or later, and notes at
// its node that it has. It decides for one machine after another, so that two do not both take the last place. None
// begins while this process has not got the Lease, or by a list of nodes that is older than admitEvery.
func (u *Upgrader) decide(ctx context.Context, machine config.Machine, plan *rollout.Plan,
	notBefore time.Time,
) (rollout.Decision, error) {
	u.admission.Lock()
	defer u.admission.Unlock()
	wave := waveOf(plan, machine.Name)
	for refreshed := false; ; refreshed = true {
		now, err := u.situation(ctx, plan, wave, notBefore)
		if err != nil {
			return rollout.Decision{}, err
		}
		decision := now.Admit(machine.Name)
		if decision.Verdict == rollout.Wait || now.State(machine.Name) == rollout.Working {
			return decision, nil
		}
		if fresh := time.Now().Add(-admitEvery); !refreshed && u.view.older(fresh) {
			notBefore = fresh
			continue
		}
		if decision.Verdict == rollout.Leave {
			return decision, nil
		}
		if why := u.lost(); why != nil {
			return rollout.Decision{Verdict: rollout.Wait, Reason: why.Error()}, nil
		}
		if why := u.view.unread(); why != nil {
			return rollout.Decision{Verdict: rollout.Wait, Reason: why.Error()}, nil
		}
		return decision, u.note(ctx, machine.NodeName, state{State: rollout.Working})
	}
}

// standing returns the machine as it stands in this run of the rollout, and why it does not begin any more; nil if the
// rollout is not halted, or the machine is at work or upgraded.
func (u *Upgrader) standing(ctx context.Context, machine config.Machine, plan *rollout.Plan) (rollout.Machine,
	*rollout.Halt, error,
) {
	now, err := u.situation(ctx, plan, 0, time.Now())
	if err != nil {
		return rollout.Machine{}, nil, err
	}
	m := now.Machine(machine.Name)
	switch {
	case m.State == rollout.Working || m.State == rollout.Succeeded:
		return m, nil, nil
	case m.Version == "":
		return m, nil, nil // it is among those that halt the rollout, and its own step tells why
	}
	return m, now.Halt(), nil
}
