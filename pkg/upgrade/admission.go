package upgrade

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// admitEvery is how often a machine that waits for its turn asks the planner.
const admitEvery = time.Second

// admit waits until the planner lets the machine begin, and notes at its node that it has. One that has begun in this
// rollout goes on. The error is a *rollout.Halt where the machine is left as it is.
func (u *Upgrader) admit(ctx context.Context, machine config.Machine, plan rollout.Plan,
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
		}
		notBefore = u.nodes.nextTick()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Until(notBefore)):
		}
	}
}

// decide asks the planner whether a machine may begin, by nodes that were listed at notBefore or later, and notes at
// its node that it has. It decides for one machine after another, so that two do not both take the last place.
func (u *Upgrader) decide(ctx context.Context, machine config.Machine, plan rollout.Plan,
	notBefore time.Time,
) (rollout.Decision, error) {
	u.admission.Lock()
	defer u.admission.Unlock()
	now, err := u.now(ctx, notBefore)
	if err != nil {
		return rollout.Decision{}, err
	}
	skipEnded(now.Machines, plan, machine.Name)
	decision := rollout.Admit(plan, now, machine.Name)
	if decision.Verdict != rollout.Start || stateIn(now.Machines, machine.Name) == rollout.Working {
		return decision, nil
	}
	return decision, u.note(ctx, machine.NodeName, state{State: rollout.Working})
}

// skipEnded marks machines of earlier waves that have not begun as skipped. The steps of a wave begin when all steps of
// the wave before have ended. The step of such a machine therefore ended before it could note anything at the node, and
// no other step would begin it.
func skipEnded(machines []rollout.Machine, plan rollout.Plan, machine string) {
	ended := map[string]bool{}
	for _, wave := range plan.Waves {
		if slices.Contains(wave.Machines, machine) {
			break
		}
		for _, name := range wave.Machines {
			ended[name] = true
		}
	}
	for i := range machines {
		if machines[i].State == rollout.Pending && ended[machines[i].Name] {
			machines[i].State = rollout.Skipped
		}
	}
}

// standing returns the machine as it stands in this run of the rollout, and why it does not begin any more; nil if the
// rollout is not halted, or the machine is at work or upgraded.
func (u *Upgrader) standing(ctx context.Context, machine config.Machine, plan rollout.Plan) (rollout.Machine,
	*rollout.Halt, error,
) {
	now, err := u.now(ctx, time.Now())
	if err != nil {
		return rollout.Machine{}, nil, err
	}
	at := slices.IndexFunc(now.Machines, func(m rollout.Machine) bool { return m.Name == machine.Name })
	if at < 0 {
		return rollout.Machine{}, nil, nil
	}
	switch m := now.Machines[at]; {
	case m.State == rollout.Working || m.State == rollout.Succeeded:
		return m, nil, nil
	case m.Version == "":
		return m, nil, nil // it is among those that halt the rollout, and its own step tells why
	}
	return now.Machines[at], rollout.Halted(plan, now), nil
}

// now returns the rollout as it stands, by nodes that were listed at notBefore or later.
func (u *Upgrader) now(ctx context.Context, notBefore time.Time) (rollout.Snapshot, error) {
	machines, _, err := u.snapshot(ctx, nil, notBefore)
	if err != nil {
		return rollout.Snapshot{}, err
	}
	now := rollout.Snapshot{Machines: machines}
	if !u.Until.IsZero() && !time.Now().Before(u.Until) {
		now.Closed = u.Until
	}
	return now, nil
}

func stateIn(machines []rollout.Machine, name string) rollout.State {
	at := slices.IndexFunc(machines, func(m rollout.Machine) bool { return m.Name == name })
	if at < 0 {
		return rollout.Pending
	}
	return machines[at].State
}

// nodeList is the cluster's nodes as they were listed last. All machines that wait share one list per tick.
type nodeList struct {
	mu     sync.Mutex
	byName map[string]*corev1.Node
	// began is when the list was asked for.
	began time.Time
	// firstTick is where ticks are counted from.
	firstTick time.Time
}

// nextTick returns when the machines that wait ask again, all of them at the same moment.
func (l *nodeList) nextTick() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.firstTick.IsZero() {
		l.firstTick = now
	}
	return l.firstTick.Add((now.Sub(l.firstTick)/admitEvery + 1) * admitEvery)
}

// noted takes over a node that this process has changed, so that the next decision sees it without another list.
func (l *nodeList) noted(node *corev1.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byName == nil {
		return
	}
	l.byName = maps.Clone(l.byName) // others read the map that they were given
	l.byName[node.Name] = node
}

// nodesSince returns the cluster's nodes by name, as they were at notBefore or later. Callers do not change them.
func (u *Upgrader) nodesSince(ctx context.Context, notBefore time.Time) (map[string]*corev1.Node, error) {
	l := &u.nodes
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byName != nil && !l.began.Before(notBefore) {
		return l.byName, nil
	}
	err := u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) error {
		began := time.Now()
		list, err := u.Target.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("listing the nodes of cluster %q: %w", u.Cluster.Name, apply.Classify(err))
		}
		l.byName, l.began = make(map[string]*corev1.Node, len(list.Items)), began
		for i := range list.Items {
			l.byName[list.Items[i].Name] = &list.Items[i]
		}
		return nil
	})
	return l.byName, err
}
