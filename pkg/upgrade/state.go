package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Annotation is the key under which a node has its state in the rollout that worked on it last, as JSON.
const Annotation = "argosy.dev/upgrade"

// Labels that keep a node out of rollouts when they are "true": the original's and ours.
const (
	SkipLabel       = "argosy.dev/skip-upgrade"
	SkipLabelOfOrig = "vcluster.loft.sh/skip-auto-upgrade"
)

// cordonOwner is the value of drain.CordonedBy in all rollouts.
const cordonOwner = "upgrade"

// state is the value of Annotation: where a node stands in a rollout.
type state struct {
	Rollout string `json:"rollout"`
	// Run of the rollout that noted it.
	Run   string        `json:"run,omitempty"`
	State rollout.State `json:"state"`
	// Version that the rollout is to.
	Version string `json:"version"`
	// Reason of a failure, or why it was left, in one line.
	Reason string `json:"reason,omitempty"`
	// Cordoned is when the rollout took the node out of service.
	Cordoned time.Time `json:"cordoned,omitzero"`
}

func stateOf(node *corev1.Node) state {
	var s state
	// An annotation that is not ours, or cannot be parsed, counts as none.
	_ = json.Unmarshal([]byte(node.Annotations[Annotation]), &s)
	return s
}

// note sets a node's Annotation, and the same in the record.
func (u *Upgrader) note(ctx context.Context, node string, s state) error {
	s.Rollout, s.Run, s.Version = u.Rollout, u.Run, u.Version
	const longest = 300
	if s.Reason, _, _ = strings.Cut(s.Reason, "\n"); len(s.Reason) > longest {
		s.Reason = s.Reason[:longest] + "…"
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the state of node %q: %w", node, err)
	}
	if err := u.remember(ctx, node, s, string(text)); err != nil {
		return err
	}
	if s.State != rollout.Working {
		defer u.view.wake()
	}
	if err := u.annotate(ctx, node, Annotation, string(text)); err != nil {
		return err
	}
	u.noted(node)
	return nil
}

func (u *Upgrader) annotate(ctx context.Context, node, key, value string) error {
	patch := map[string]any{"metadata": map[string]any{"annotations": map[string]string{key: value}}}
	return u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) error {
		patched, err := apply.PatchNode(ctx, u.Target.Client, node, patch)
		if err != nil {
			return fmt.Errorf("setting annotation %q of node %q: %w", key, node, err)
		}
		u.view.noted(patched)
		return nil
	})
}

// snapshot returns the fleet as the planner sees it, and the nodes, listed at notBefore or later. chosen are the
// machines that the rollout was asked for, nil for all.
func (u *Upgrader) snapshot(ctx context.Context, chosen []config.Machine, notBefore time.Time) ([]rollout.Machine,
	map[string]*corev1.Node, error,
) {
	if err := u.readRecord(ctx); err != nil {
		return nil, nil, err
	}
	nodes, _, err := u.nodesSince(ctx, notBefore)
	if err != nil {
		return nil, nil, err
	}
	return u.describeAll(nodes, chosen), nodes, nil
}

// describeAll returns the fleet as the planner sees it.
func (u *Upgrader) describeAll(nodes map[string]*corev1.Node, chosen []config.Machine) []rollout.Machine {
	now := time.Now()
	asked := map[string]bool{}
	for _, machine := range chosen {
		asked[machine.Name] = true
	}
	canaries := u.canaries()
	machines := make([]rollout.Machine, 0, len(u.Cluster.Fleet.Machines))
	for _, machine := range u.Cluster.Fleet.Machines {
		one := u.describe(machine, nodes[machine.NodeName], now)
		one.Canary = canaries[machine.Name]
		if one.Skip == "" && chosen != nil && !asked[machine.Name] {
			one.Skip = "was not asked for"
		}
		machines = append(machines, one)
	}
	return machines
}

// canaries returns the names of the canaries in the documents.
func (u *Upgrader) canaries() map[string]bool {
	u.canariesOnce.Do(func() {
		u.canaryNames = map[string]bool{}
		expression := u.Cluster.Fleet.Upgrade.Canaries
		if expression == "" {
			return
		}
		selected, err := u.Cluster.Select(expression) // it was checked with the documents
		if err != nil {
			return
		}
		for _, machine := range selected {
			u.canaryNames[machine.Name] = true
		}
	})
	return u.canaryNames
}

// describe returns one machine as the planner sees it. Of an earlier run of the same rollout only a success counts:
//
//	the rollout that noted the state   its run     counts
//	this one                           this one    as it is
//	this one                           another     a success that lasts as it is, anything else as pending
//	another, to the same version       any         a failure as one before
//
// The state is that in the annotation of its node, or else in the record of this run. A machine that another rollout
// works on is unavailable, whatever its node shows yet.
func (u *Upgrader) describe(machine config.Machine, node *corev1.Node, now time.Time) rollout.Machine {
	one := rollout.Machine{Name: machine.Name}
	recorded := u.stateFor(machine.NodeName, node)
	if node == nil {
		one.State, one.Reason = recorded.State, recorded.Reason
		return one
	}
	one.Version = node.Status.NodeInfo.KubeletVersion
	one.Zone = node.Labels[u.Cluster.Fleet.Upgrade.ZoneLabel]
	one.Skip = u.skip(node, recorded, now)
	switch {
	case recorded.Rollout == u.Rollout && !u.leftBefore(node):
		one.State, one.Reason = recorded.State, recorded.Reason
	case recorded.Version == u.Version && (recorded.State == rollout.Failed || recorded.State == rollout.Working):
		one.FailedBefore = true
	}
	one.Unavailable = one.State != rollout.Working && (node.Spec.Unschedulable ||
		join.NotReady(node, one.Version) != "" || u.elsewhere.has(machine.NodeName, recorded, u.Rollout, now))
	return one
}

// stateFor returns the state that counts for a machine: one that this process could not note, else that of its node
// where this run noted it there, else that in the record, else that which another run noted.
func (u *Upgrader) stateFor(name string, node *corev1.Node) state {
	if kept, is := u.kept(name); is {
		return kept
	}
	var noted state
	if node != nil {
		noted = stateOf(node)
	}
	if noted.Rollout == u.Rollout && noted.Run == u.Run {
		return noted
	}
	if kept := u.remembered(name); kept.Rollout != "" {
		return kept
	}
	return noted
}

// elsewhere are the machines that other rollouts noted as at work, since when this process has seen that.
type elsewhere struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// has reports whether another rollout may be about to take a node out of service. One that was killed leaves its notes
// behind. One that lives stops within the life of its Lease where it lost that, unless it has cordoned the node, which
// counts by itself. A note therefore counts for that long, from when this process saw it first.
func (e *elsewhere) has(node string, noted state, own string, now time.Time) bool {
	if noted.Rollout == own || noted.State != rollout.Working {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.since == nil {
		e.since = map[string]time.Time{}
	}
	key := node + " " + noted.Rollout + " " + noted.Run
	if e.since[key].IsZero() {
		e.since[key] = now
	}
	return now.Sub(e.since[key]) < leaseLife
}

// leftBefore reports whether an earlier run of this rollout began the machine, or should have, and did not upgrade it.
func (u *Upgrader) leftBefore(node *corev1.Node) bool {
	if node == nil {
		return false
	}
	recorded := u.stateFor(node.Name, node)
	lasts := recorded.State == rollout.Succeeded && node.Status.NodeInfo.KubeletVersion == u.Version
	return recorded.Rollout == u.Rollout && recorded.Run != u.Run && !lasts
}

// skip returns why a node takes no part; "" when it does.
func (u *Upgrader) skip(node *corev1.Node, recorded state, now time.Time) string {
	if u.OnlyControlPlane {
		return "privateNodes.autoUpgrade.enabled is false"
	}
	for _, label := range []string{SkipLabel, SkipLabelOfOrig} {
		if node.Labels[label] == "true" {
			return "its node has the label " + label
		}
	}
	selector := labels.SelectorFromSet(u.Cluster.VCluster.PrivateNodes.AutoUpgrade.NodeSelector)
	if !selector.Matches(labels.Set(node.Labels)) {
		return "autoUpgrade.nodeSelector does not select its node"
	}
	grace := u.Cluster.Fleet.Upgrade.NodeGrace.Duration
	if age := now.Sub(node.CreationTimestamp.Time); age < grace && recorded.Rollout != u.Rollout {
		return fmt.Sprintf("its node is only %s old (upgrade.nodeGrace is %s)", age.Round(time.Second), grace)
	}
	return ""
}
