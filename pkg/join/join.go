// Package join conducts the join of machines to a cluster from the plugin's side: it looks at machines, mints and
// revokes their bootstrap tokens, has argosy-node do the work on them, waits until their nodes are Ready and marks
// these. It never changes anything on a machine itself, and it never decides by the text of an error.
package join

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Machine is the plugin's side of one machine, which may also get its bundle from there; *machine.Machine is one.
type Machine interface {
	operation.Machine
	images.Feeder
	PushBundle(ctx context.Context, bundle spec.Bundle, open func(offset int64) (io.ReadCloser, error),
		progress func(done, total int64)) error
}

// Conductor joins the machines of one cluster. It is safe for use by many goroutines.
type Conductor struct {
	Cluster    *config.Cluster
	Target     *Target
	Repository *bundle.Repository
	// Version that machines get, e.g. "v1.34.4".
	Version string
	// Logins at image registries, by the registry's host, that every machine's containerd gets beside those of the
	// documents.
	Logins map[string]spec.RegistryLogin
	// Machine opens a machine; it does not dial yet.
	Machine func(config.Machine) Machine
	// Images are what the plugin sends of importImages.
	Images *images.Supply
	operation.Runner

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
	// Differs names what is not as the documents want it and was left so.
	Differs []string `json:"differs,omitempty"`
	// Phases on the machine, when there was work.
	Phases  []spec.Phase `json:"phases,omitempty"`
	Seconds float64      `json:"seconds"`
}

// String is one line for people.
func (o Outcome) String() string {
	text := fmt.Sprintf("node %s is Ready at %s", o.Node, o.Version)
	if o.Changed {
		text += fmt.Sprintf(" after %.1f s: %s", o.Seconds, strings.Join(o.Done, ", "))
	} else if len(o.Differs) == 0 {
		text += "; everything held already"
	}
	if len(o.Differs) > 0 {
		text += "; differs from the documents, which workflow reconcile puts right: " + strings.Join(o.Differs, ", ")
	}
	return text
}

// Join makes machine a Ready node, or finds that it is one. Transient errors are retried within the fleet's budget;
// report gets a line at each change. The machine works inside window. A Ready node is left as it is, apart from labels
// and taints.
func (c *Conductor) Join(ctx context.Context, machine config.Machine, window *operation.Limiter,
	report func(string)) (Outcome, error) {
	outcome, err := c.bring(ctx, machine, report, c.joinOnce(window))
	if err != nil {
		return outcome, fmt.Errorf("joining machine %q (%s): %w", machine.Name, machine.Address, err)
	}
	return outcome, nil
}

// try is one way from a look at the machine to what is wanted of it, within limit, which bounds the work and not the
// wait for a place. worked is set when an operation was or is at work on the machine.
type try func(ctx context.Context, seen sight, outcome Outcome, limit time.Duration, worked *bool,
	report func(string)) (Outcome, error)

// bring has the machine looked at and one try made of it, until it succeeds or fails for good.
func (c *Conductor) bring(ctx context.Context, machine config.Machine, report func(string), try try) (Outcome, error) {
	started := time.Now()
	// An attempt that lost its machine leaves an operation at work there, with its token; only the end of all attempts
	// ends the token.
	worked := false
	defer func() {
		if worked {
			c.revoke(ctx, machine.Name)
		}
	}()
	limit := c.Cluster.Fleet.Limits.MachineTimeout.Duration + c.Cluster.Fleet.Limits.ReadyTimeout.Duration
	var outcome Outcome
	err := operation.Retrying(ctx, c.Cluster.Fleet.Limits.RetryBudget.Duration, report, func(ctx context.Context) error {
		outcome = Outcome{Machine: machine.Name, Node: machine.NodeName, Version: c.Version}
		report(fmt.Sprintf("looking at machine %s (%s)", machine.Name, machine.Address))
		seen, err := c.look(ctx, machine, spec.KindJoin)
		if err != nil {
			return err
		}
		if seen.facts.Plan.Error != nil && !seen.running() {
			return &operation.Failure{Machine: machine.Name, Status: *seen.facts.Plan}
		}
		outcome, err = try(ctx, seen, outcome, limit, &worked, report)
		return err
	})
	outcome.Seconds = time.Since(started).Seconds()
	return outcome, err
}

// joinOnce is a try that ends with a Ready node.
func (c *Conductor) joinOnce(window *operation.Limiter) try {
	return func(ctx context.Context, seen sight, outcome Outcome, limit time.Duration, worked *bool,
		report func(string)) (Outcome, error) {
		leave, err := c.enter(ctx, seen, window, report)
		if err != nil {
			return outcome, err
		}
		defer leave()
		ctx, cancel := within(ctx, limit)
		defer cancel()
		if c.leaves(ctx, seen) {
			outcome.Differs = whatDiffers(changesOf(seen.facts.Plan))
			return c.finish(ctx, seen, outcome, report)
		}
		if outcome, err = c.workOn(ctx, seen, outcome, worked, report); err != nil {
			return outcome, err
		}
		return c.finish(ctx, seen, outcome, report)
	}
}

// leaves says whether a join leaves the machine as it is although it differs: it has joined, and its node is Ready.
func (c *Conductor) leaves(ctx context.Context, seen sight) bool {
	if seen.running() || !operation.Wants(seen.facts.Plan) || !seen.onlyDiffers(c.Target) {
		return false
	}
	node, err := c.Target.Client.CoreV1().Nodes().Get(ctx, seen.machine.NodeName, metav1.GetOptions{})
	return err == nil && notReady(node, c.Version) == ""
}

func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, errclass.Errorf(errclass.Permanent,
		"the machine was given %s and used them up", limit))
}

// workOn has the machine do what its plan wants, if that is anything.
func (c *Conductor) workOn(ctx context.Context, seen sight, outcome Outcome, worked *bool,
	report func(string)) (Outcome, error) {
	if !seen.running() && !operation.Wants(seen.facts.Plan) {
		return outcome, nil
	}
	*worked = true
	status, err := c.work(ctx, seen, 0, clusterPhases, report)
	if err != nil {
		return outcome, err
	}
	outcome.Phases, outcome.Changed = status.Phases, status.Changed
	outcome.Done = append(outcome.Done, operation.Done(status))
	return outcome, nil
}

func (c *Conductor) enter(ctx context.Context, seen sight, window *operation.Limiter, report func(string)) (func(),
	error) {
	if seen.running() {
		return window.EnterRunning(), nil
	}
	return window.Enter(ctx, func(inside int) {
		report(fmt.Sprintf("waiting for a place: %d machines are at work", inside))
	})
}

// clusterPhases follow the machine's own in the cluster: ready, labels.
const clusterPhases = 2

// finish waits for the node and marks it, once the machine's own work is done.
func (c *Conductor) finish(ctx context.Context, seen sight, outcome Outcome, report func(string)) (Outcome, error) {
	machine, first, total := seen.machine, seen.facts.Plan.Total+1, seen.facts.Plan.Total+clusterPhases
	limit := c.Cluster.Fleet.Limits.ReadyTimeout.Duration
	ready, cancel := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("it was not within %s; see `kubectl describe node %s`, and `journalctl -u kubelet` on the machine",
			limit, machine.NodeName))
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

// work has the machine do what its plan wants, with a token of its own. before and after are how many phases in the
// cluster come before and after the machine's own.
func (c *Conductor) work(ctx context.Context, seen sight, before, after int, report func(string)) (spec.Status, error) {
	op := seen.operation
	if !seen.running() && seen.needsToken(c.Target) {
		token, err := mintToken(ctx, c.Target.Client, seen.machine.Name, tokenLife(op), time.Now())
		if err != nil {
			return spec.Status{}, err
		}
		op.Secrets.BootstrapToken = token
	}
	if !c.pulls(seen) {
		op.Join.Bundle.URL = ""
	}
	return c.Run(ctx, seen.remote, op, func(ctx context.Context, status spec.Status) (spec.Status, error) {
		return c.attend(ctx, seen, op, status, func(s spec.Status) {
			s.Index += before
			report(operation.Message(s, before+after))
		})
	})
}

// attend watches a running operation to its end and feeds it the bundle where the machine does not fetch it itself, and
// the images that it asks for.
func (c *Conductor) attend(ctx context.Context, seen sight, op spec.Operation, status spec.Status,
	show func(spec.Status)) (spec.Status, error) {
	group, working := errgroup.WithContext(ctx)
	pushing, stopPushing := context.WithCancel(working)
	defer stopPushing()
	sending, stopSending := context.WithCancel(working)
	defer stopSending()
	send := sync.OnceFunc(func() {
		group.Go(func() error { return seen.remote.Feed(sending, op.ID, c.Images.Open) })
	})
	group.Go(func() error {
		defer stopSending()
		var err error
		status, err = seen.remote.Watch(working, op.ID, func(s spec.Status) {
			show(s)
			if s.Feed != "" {
				send()
			}
			if !wantsBytes(s) {
				stopPushing() // what is sent now would only be left behind
			}
		})
		stopPushing()
		return err
	})
	if op.Join.Bundle.URL == "" && wantsBytes(status) {
		group.Go(func() error {
			err := c.push(pushing, seen, op.Join.Bundle)
			if working.Err() == nil && pushing.Err() != nil {
				return nil
			}
			return err
		})
	}
	return status, group.Wait()
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

// revoke deletes the machine's tokens even when ctx is over, unless the work goes on without us and still needs its
// own.
func (c *Conductor) revoke(ctx context.Context, machine string) {
	if c.Leaves(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// What can't be deleted now is found by Verify and expires by itself.
	_, _ = revokeTokens(ctx, c.Target.Client, machine)
}
