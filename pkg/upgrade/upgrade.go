// Package upgrade upgrades a cluster's machines to the version of its control plane: it plans waves, stages a wave
// before any of its nodes is cordoned, drains a node, has its machine upgraded, waits until it serves again, and rolls
// it back where it does not. Package rollout decides when a machine may begin, and argosy-node carries out the phases
// on it. The state of a rollout is kept at the nodes, so that any process can continue it.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/machine/bypod"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Upgrader upgrades the machines of one cluster to its Version. It is safe for use by many goroutines.
type Upgrader struct {
	// Upgrader has the cluster, its machines, and their wanted state.
	*join.Joiner
	// Rollout tells rollouts apart: the UID of the workflow.
	Rollout string
	// Run tells the runs of one rollout apart: when the workflow was started or retried. A retried workflow keeps its
	// UID, and its machines that failed or were left are pending again.
	Run string
	// Pods are the way to machines that SSH does not reach; nil for none.
	Pods *bypod.Pods
	// OnlyControlPlane leaves all machines out of a plan.
	OnlyControlPlane bool
	// Until is when nothing more is begun, unless a plan has a later time; zero for that of the plan.
	Until time.Time
	// ServerVersion asks the API server for its version; nil takes that of the Target.
	ServerVersion func(ctx context.Context) (string, error)
	// Leases is the client of the rollout's Lease, so that no other request delays a renewal; nil takes the cluster's.
	Leases coordinationclient.LeasesGetter

	admission  sync.Mutex
	view       view
	situations situations
	turns      turnQueue
	lease      lease
	record     record
	elsewhere  elsewhere
	// rollbackFailed is the first machine whose rollback failed in this process; nil for none.
	rollbackFailed atomic.Pointer[string]
	// inspections are those of machines that wait for their turn, or begin.
	inspections operation.Inspections

	canariesOnce sync.Once
	canaryNames  map[string]bool
}

// Outcome is the result for one machine.
type Outcome struct {
	Machine string `json:"machine"`
	Node    string `json:"node"`
	From    string `json:"from"`
	Version string `json:"version"`
	Changed bool   `json:"changed"`
	// Left is why the machine was not upgraded; empty when it was, or needed no upgrade.
	Left string `json:"left,omitempty"`
	// RolledBack is true where the upgrade failed and the machine was rolled back.
	RolledBack bool `json:"rolledBack,omitempty"`
	// Done lists the changes, in words.
	Done   []string     `json:"done,omitempty"`
	Phases []spec.Phase `json:"phases,omitempty"`
	// Unavailable is for how many seconds the node took no pods; Seconds is all.
	Unavailable float64 `json:"unavailable"`
	Seconds     float64 `json:"seconds"`
}

// String is one line for people.
func (o Outcome) String() string {
	switch {
	case o.Left != "":
		return fmt.Sprintf("machine %s was left at %s: %s", o.Machine, o.From, o.Left)
	case !o.Changed:
		return fmt.Sprintf("node %s is Ready at %s; no changes needed", o.Node, o.Version)
	}
	return fmt.Sprintf("node %s is Ready at %s (was %s) after %.1f s, %.1f s of them out of service: %s",
		o.Node, o.Version, o.From, o.Seconds, o.Unavailable, strings.Join(o.Done, ", "))
}

// Staged is the result of a stage of one machine.
type Staged struct {
	Machine string `json:"machine"`
	Version string `json:"version"`
	Changed bool   `json:"changed"`
	// Left is why it received nothing; empty when it has all.
	Left    string       `json:"left,omitempty"`
	Phases  []spec.Phase `json:"phases,omitempty"`
	Seconds float64      `json:"seconds"`
}

// String is one line for people.
func (s Staged) String() string {
	switch {
	case s.Left != "":
		return fmt.Sprintf("machine %s was left as it is: %s", s.Machine, s.Left)
	case !s.Changed:
		return fmt.Sprintf("machine %s has bundle and images of %s already", s.Machine, s.Version)
	}
	return fmt.Sprintf("machine %s received bundle and images of %s in %.1f s", s.Machine, s.Version, s.Seconds)
}

// CurrentVersion returns the version of the control plane as it is now. A rollout that waited for a person may find
// another one than it began with.
func (u *Upgrader) CurrentVersion(ctx context.Context) (string, error) {
	if u.ServerVersion == nil {
		return u.Target.Version, nil
	}
	var found string
	err := u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) (err error) {
		found, err = u.ServerVersion(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("asking cluster %q for its version: %w", u.Cluster.Name, err)
	}
	return found, nil
}

// Stage has a machine of the plan receive all that its upgrade will need, and touches nothing that runs. Where the
// rollout is halted, it is left alone.
func (u *Upgrader) Stage(ctx context.Context, machine config.Machine, plan rollout.Plan, limiter *operation.Limiter,
	progress operation.Progress,
) (Staged, error) {
	_, halt, err := u.standing(ctx, machine, u.situations.shared(plan))
	if err != nil {
		return Staged{Machine: machine.Name, Version: u.Version}, err
	}
	if halt != nil {
		return Staged{Machine: machine.Name, Version: u.Version, Left: halt.Reason}, nil
	}
	staged, err := u.stage(ctx, machine, limiter, progress)
	u.releasePod(ctx, machine)
	return staged, err
}

func (u *Upgrader) stage(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
	progress operation.Progress,
) (Staged, error) {
	started := time.Now()
	staged := Staged{Machine: machine.Name, Version: u.Version}
	err := u.RunJob(ctx, operation.Job[join.Inspection]{
		Verb: "staging the upgrade of", Machine: machine, Limits: u.Cluster.Fleet.Limits, Limiter: limiter,
		Progress: progress,
		Inspect: func(ctx context.Context) (join.Inspection, error) {
			found, err := u.Inspect(ctx, machine, spec.KindStage)
			if err == nil && found.Facts.Plan.Error == nil && !found.HasWork() {
				err = operation.ErrNothingToDo
			}
			return found, err
		},
		Apply: func(ctx context.Context, found join.Inspection) error {
			status, err := u.Execute(ctx, found, operation.Phases{operation.MachinePhases}, progress)
			staged.Phases, staged.Changed = status.Phases, status.Changed
			return err
		},
	})
	staged.Seconds = time.Since(started).Seconds()
	return staged, err
}

// retrying repeats an attempt while its error is transient, within the fleet's budget.
func (u *Upgrader) retrying(ctx context.Context, progress operation.Progress,
	attempt func(context.Context) error,
) error {
	return operation.Retrying(ctx, u.Cluster.Fleet.Limits.RetryBudget.Duration, progress, attempt)
}

// letGo deletes the pod by which a machine was reached, unless the next process goes on with it. A pod that cannot be
// deleted now ends by itself.
func (u *Upgrader) releasePod(ctx context.Context, machine config.Machine) {
	if u.Leaves(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	_ = u.Pods.Release(ctx, machine.NodeName)
}

func versionIn(facts spec.Facts) string {
	if facts.Record == nil {
		return ""
	}
	return facts.Record.Version
}

// node reads a machine's node; nil when there is none.
func (u *Upgrader) node(ctx context.Context, machine config.Machine) (*corev1.Node, error) {
	node, err := u.Target.Client.CoreV1().Nodes().Get(ctx, machine.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading node %q: %w", machine.NodeName, apply.Classify(err))
	}
	return node, nil
}

// asHalt returns why a machine is left as it is, and whether that is what the error is.
func asHalt(err error) (halt *rollout.Halt, is bool) {
	is = errors.As(err, &halt)
	return halt, is
}

// Upgrade takes a machine of the plan to the Upgrader's version when it is its turn, or finds that it is there. A
// machine that must not begin, or whose pods do not leave where onDrainTimeout is skip, is left as it is, which is no
// error. One that does not come up is rolled back, which is.
func (u *Upgrader) Upgrade(ctx context.Context, machine config.Machine, plan rollout.Plan,
	progress operation.Progress,
) (Outcome, error) {
	started := time.Now()
	w := &machineUpgrade{
		upgrader: u, machine: machine, rule: u.Cluster.UpgradeRuleFor(machine), progress: progress,
		plan:    u.situations.shared(plan),
		outcome: Outcome{Machine: machine.Name, Node: machine.NodeName, Version: u.Version},
	}
	err := w.run(ctx)
	if err != nil || !w.outcome.Changed {
		err = w.uncordonUnbegun(ctx, err)
	}
	u.releasePod(ctx, machine)
	w.outcome.Seconds = time.Since(started).Seconds()
	if _, left := asHalt(err); left {
		w.outcome.Left = err.Error()
		return w.outcome, nil
	}
	if err != nil {
		return w.outcome, fmt.Errorf("upgrading machine %q (%s): %w", machine.Name, machine.Address, err)
	}
	return w.outcome, nil
}
