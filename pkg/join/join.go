// Package join conducts the join of machines to a cluster from the plugin's side: it looks at machines, mints and revokes
// their bootstrap tokens, has argosy-node do the work on them, waits until their nodes are Ready and marks these. It never
// changes anything on a machine itself, and it never decides by the text of an error.
package join

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/node/spec"
)

// Machine is the plugin's side of one machine; *machine.Machine is one.
type Machine interface {
	Inspect(ctx context.Context, question spec.Question) (spec.Facts, error)
	Start(ctx context.Context, operation spec.Operation) (spec.Status, error)
	Watch(ctx context.Context, id string, each func(spec.Status)) (spec.Status, error)
	Cancel(ctx context.Context, id string) error
	PushBundle(ctx context.Context, bundle spec.Bundle, open func(offset int64) (io.ReadCloser, error), progress func(done, total int64)) error
}

// Conductor joins the machines of one cluster. It is safe for use by many goroutines.
type Conductor struct {
	Cluster    *config.Cluster
	Target     *Target
	Repository *bundle.Repository
	// Version that machines get, e.g. "v1.34.4".
	Version string
	// Machine opens a machine; it does not dial yet.
	Machine func(config.Machine) Machine
	// Log gets a line at the start and the end of each operation; nil writes none.
	Log *slog.Logger
	// Detached says whether a cancellation only ends this process, while the work on the machine should go on.
	Detached func(cause error) bool

	bundles bundleCache
}

// Outcome is what became of one machine.
type Outcome struct {
	Machine string `json:"machine"`
	Node    string `json:"node"`
	Version string `json:"version"`
	// Changed is false when everything held already.
	Changed bool `json:"changed"`
	// Done says what was done, in words.
	Done []string `json:"done,omitempty"`
	// Phases on the machine, when there was work.
	Phases  []spec.Phase `json:"phases,omitempty"`
	Seconds float64      `json:"seconds"`
}

// String is one line for people.
func (o Outcome) String() string {
	if !o.Changed {
		return fmt.Sprintf("node %s is Ready at %s; everything held already", o.Node, o.Version)
	}
	return fmt.Sprintf("node %s is Ready at %s after %.1f s: %s", o.Node, o.Version, o.Seconds, strings.Join(o.Done, ", "))
}

// Failure is an operation that ended on the machine without success.
type Failure struct {
	Machine string
	Status  spec.Status
}

// Error tells the machine, the phase, what happened, its last lines and what to do next.
func (f *Failure) Error() string {
	failure := f.Status.Error
	if failure == nil {
		return fmt.Sprintf("machine %s: the operation ended as %s in phase %s", f.Machine, f.Status.State, f.Status.Phase)
	}
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "machine %s: phase %s: %s", f.Machine, failure.Phase, failure.Message)
	for _, problem := range failure.Problems {
		_, _ = fmt.Fprintf(&text, "\n  - %s", problem)
	}
	if failure.Command != "" {
		_, _ = fmt.Fprintf(&text, "\n  command: %s", failure.Command)
	}
	for _, line := range failure.Tail {
		_, _ = fmt.Fprintf(&text, "\n  | %s", line)
	}
	if failure.Hint != "" {
		_, _ = fmt.Fprintf(&text, "\n  next: %s", failure.Hint)
	}
	return text.String()
}

// Join makes machine a Ready node, or finds that it is one. Transient errors are retried within the fleet's budget; report
// gets a line at each change. The machine works inside window.
func (c *Conductor) Join(ctx context.Context, machine config.Machine, window *Window, report func(string)) (Outcome, error) {
	started := time.Now()
	// An attempt that lost its machine leaves an operation at work there, with its token; only the end of all attempts ends
	// the token.
	worked := false
	defer func() {
		if worked {
			c.revoke(ctx, machine.Name)
		}
	}()
	limit := c.Cluster.Fleet.Limits.MachineTimeout.Duration + c.Cluster.Fleet.Limits.ReadyTimeout.Duration
	var outcome Outcome
	err := retrying(ctx, c.Cluster.Fleet.Limits.RetryBudget.Duration, report, func(ctx context.Context) error {
		var err error
		outcome, err = c.attempt(ctx, machine, window, limit, &worked, report)
		return err
	})
	outcome.Seconds = time.Since(started).Seconds()
	if err != nil {
		return outcome, fmt.Errorf("joining machine %q (%s): %w", machine.Name, machine.Address, err)
	}
	return outcome, nil
}

// attempt is one way from looking at the machine to its Ready node. limit bounds the work, not the wait for a place.
// worked is set when an operation was or is at work on the machine.
func (c *Conductor) attempt(ctx context.Context, machine config.Machine, window *Window, limit time.Duration, worked *bool, report func(string)) (Outcome, error) {
	outcome := Outcome{Machine: machine.Name, Node: machine.NodeName, Version: c.Version}
	report(fmt.Sprintf("looking at machine %s (%s)", machine.Name, machine.Address))
	seen, err := c.look(ctx, machine)
	if err != nil {
		return outcome, err
	}
	if seen.facts.Plan.Error != nil && !seen.running() {
		return outcome, &Failure{Machine: machine.Name, Status: *seen.facts.Plan}
	}
	leave, err := c.enter(ctx, seen, window, report)
	if err != nil {
		return outcome, err
	}
	defer leave()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fault.As(fault.Permanent, fmt.Errorf("the machine was given %s and used them up", limit)))
	defer cancel()
	if seen.running() || wants(seen.facts.Plan) {
		*worked = true
		status, err := c.work(ctx, seen, report)
		if err != nil {
			return outcome, err
		}
		outcome.Phases, outcome.Changed = status.Phases, status.Changed
		outcome.Done = append(outcome.Done, done(status))
	}
	return c.finish(ctx, seen, outcome, report)
}

func (c *Conductor) enter(ctx context.Context, seen sight, window *Window, report func(string)) (func(), error) {
	if seen.running() {
		return window.EnterRunning(), nil
	}
	return window.Enter(ctx, func(inside int) {
		report(fmt.Sprintf("waiting for a place: %d machines are at work", inside))
	})
}

// finish waits for the node and marks it, once the machine's own work is done.
func (c *Conductor) finish(ctx context.Context, seen sight, outcome Outcome, report func(string)) (Outcome, error) {
	machine, first, total := seen.machine, seen.facts.Plan.Total+1, seen.facts.Plan.Total+clusterPhases
	limit := c.Cluster.Fleet.Limits.ReadyTimeout.Duration
	ready, cancel := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("it was not within %s; see `kubectl describe node %s`, and `journalctl -u kubelet` on the machine", limit, machine.NodeName))
	defer cancel()
	node, err := waitReady(ready, c.Target.Client, machine.NodeName, c.Version, func(text string) {
		report(fmt.Sprintf("[%d/%d ready] %s", first, total, text))
	})
	if err != nil {
		return outcome, err
	}
	report(fmt.Sprintf("[%d/%d labels] setting labels and taints", first+1, total))
	changes, err := markNode(ctx, c.Target.Client, node, machine.Labels, c.Cluster.Taints(machine))
	if err != nil {
		return outcome, err
	}
	outcome.Changed = outcome.Changed || len(changes) > 0
	outcome.Done = append(outcome.Done, changes...)
	return outcome, nil
}

// work has the machine do what its plan wants, with a token of its own.
func (c *Conductor) work(ctx context.Context, seen sight, report func(string)) (spec.Status, error) {
	operation := seen.operation
	if !seen.running() {
		token, err := mintToken(ctx, c.Target.Client, seen.machine.Name, time.Now())
		if err != nil {
			return spec.Status{}, err
		}
		operation.Secrets.BootstrapToken = token
	}
	if !c.pulls(seen) {
		operation.Join.Bundle.URL = ""
	}
	status, err := seen.remote.Start(ctx, operation)
	if err != nil {
		return status, fmt.Errorf("starting operation %s: %w", operation.ID, err)
	}
	log := c.log().With("machine", seen.machine.Name, "operation", operation.ID)
	log.Info("operation runs", "attached", seen.running(), "pushed", operation.Join.Bundle.URL == "")
	if !status.State.Final() {
		status, err = c.follow(ctx, seen, operation, status, report)
	}
	log.Info("operation followed", "state", status.State, "phase", status.Phase, "error", err)
	if err == nil && status.State != spec.Succeeded {
		err = fault.As(classOf(status), &Failure{Machine: seen.machine.Name, Status: status})
	}
	return status, err
}

func (c *Conductor) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

func classOf(status spec.Status) fault.Class {
	if status.State == spec.Cancelled {
		return fault.Cancelled
	}
	if status.Error != nil && status.Error.Class != "" {
		return status.Error.Class
	}
	return fault.Permanent
}

// follow watches a running operation to its end and feeds it the bundle where the machine does not fetch it itself.
// A cancellation stops the operation on the machine at its next safe point, unless it only ends this process.
func (c *Conductor) follow(ctx context.Context, seen sight, operation spec.Operation, status spec.Status, report func(string)) (spec.Status, error) {
	group, working := errgroup.WithContext(ctx)
	pushing, stopPushing := context.WithCancel(working)
	defer stopPushing()
	group.Go(func() error {
		var err error
		status, err = seen.remote.Watch(working, operation.ID, func(s spec.Status) {
			report(message(s))
			if !wantsBytes(s) {
				stopPushing() // what is sent now would only be left behind
			}
		})
		stopPushing()
		return err
	})
	if operation.Join.Bundle.URL == "" && wantsBytes(status) {
		group.Go(func() error {
			err := c.push(pushing, seen, operation.Join.Bundle)
			if working.Err() == nil && pushing.Err() != nil {
				return nil
			}
			return err
		})
	}
	err := group.Wait()
	if ctx.Err() == nil || status.State.Final() {
		return status, err
	}
	cause := context.Cause(ctx)
	if c.Detached != nil && c.Detached(cause) {
		return status, cause
	}
	return c.stop(ctx, seen, operation.ID, cause)
}

// wantsBytes says whether a running operation may still wait for its bundle.
func wantsBytes(status spec.Status) bool {
	return !status.State.Final() && !slices.ContainsFunc(status.Phases, func(p spec.Phase) bool {
		return p.Name == "bundle" && (p.Outcome == spec.Held || p.Outcome == spec.Applied)
	})
}

func (c *Conductor) push(ctx context.Context, seen sight, wanted spec.Bundle) error {
	wanted.URL = seen.url
	err := seen.remote.PushBundle(ctx, wanted, func(offset int64) (io.ReadCloser, error) {
		return c.Repository.Open(ctx, wanted, offset)
	}, func(int64, int64) {})
	if err != nil {
		return fmt.Errorf("pushing bundle %q: %w", wanted.Name, err)
	}
	return nil
}

// stopTimeout bounds the wait for a machine to reach a safe point after a cancellation; Argo gives a pod 30 s to end.
const stopTimeout = 20 * time.Second

func (c *Conductor) stop(ctx context.Context, seen sight, id string, cause error) (spec.Status, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := seen.remote.Cancel(ctx, id); err != nil {
		return spec.Status{}, errors.Join(cause, fmt.Errorf("stopping operation %s: %w", id, err))
	}
	status, err := seen.remote.Watch(ctx, id, func(spec.Status) {})
	if err != nil {
		return status, errors.Join(cause, fmt.Errorf("waiting for operation %s to stop: %w", id, err))
	}
	if status.State == spec.Succeeded {
		return status, nil
	}
	return status, fault.As(fault.Cancelled, cause)
}

// revoke deletes the machine's tokens even when ctx is over, unless the work goes on without us and still needs its own.
func (c *Conductor) revoke(ctx context.Context, machine string) {
	if ctx.Err() != nil && c.Detached != nil && c.Detached(context.Cause(ctx)) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// What can't be deleted now is found by Verify and expires by itself.
	_, _ = revokeTokens(ctx, c.Target.Client, machine)
}

func done(status spec.Status) string {
	var applied []string
	for _, phase := range status.Phases {
		if phase.Outcome == spec.Applied {
			applied = append(applied, phase.Name)
		}
	}
	if len(applied) == 0 {
		return "nothing to do on the machine"
	}
	return strings.Join(applied, ", ")
}
