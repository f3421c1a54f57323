// Package join joins machines to a cluster from the plugin's side: it inspects machines, mints and revokes their
// bootstrap tokens, has argosy-node do the work on them, waits until their nodes are Ready, and sets labels and taints
// on these. It never changes anything on a machine itself, and it never decides by the text of an error.
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
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/node/feed"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/spread"
)

// Machine is the plugin's side of one machine, which may also get its bundle from there; *machine.Machine is one.
type Machine interface {
	operation.Machine
	images.Feeder
	// Admit lets a join that waits for its admission ask the cluster's API server.
	Admit(ctx context.Context, id string) error
	PushBundle(ctx context.Context, bundle spec.Bundle, open func(offset int64) (io.ReadCloser, error),
		progress func(done, total int64)) error
}

// Joiner joins the machines of one cluster. It is safe for use by many goroutines.
type Joiner struct {
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
	// Images holds those of importImages that the plugin sends.
	Images *images.Supply
	// Spread has the machines of the run that pass pieces of files on to each other; nil where none do.
	Spread *spread.Tracker
	operation.Runner

	bundles   bundleCache
	groups    tokenGroups
	startup   operation.Startup
	admission admission
}

// Outcome is the result for one machine.
type Outcome struct {
	Machine string `json:"machine"`
	Node    string `json:"node"`
	Version string `json:"version"`
	// Changed is false when no changes were needed.
	Changed bool `json:"changed"`
	// Done lists the changes in words.
	Done []string `json:"done,omitempty"`
	// Differs names the differences from the documents that were left as they are.
	Differs []string `json:"differs,omitempty"`
	// Remarks are sentences on the machine's bootstrap token.
	Remarks []string `json:"remarks,omitempty"`
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
		text += "; no changes needed"
	}
	if len(o.Differs) > 0 {
		text += "; differs from the documents, which workflow reconcile puts right: " + strings.Join(o.Differs, ", ")
	}
	return strings.Join(append([]string{text}, o.Remarks...), "; ")
}

// Join makes machine a Ready node, or finds that it is one. Transient errors are retried within the fleet's budget. The
// machine works inside limiter. A Ready node is left as it is, apart from labels and taints.
func (j *Joiner) Join(ctx context.Context, machine config.Machine, limiter *operation.Limiter,
	progress operation.Progress,
) (Outcome, error) {
	r := &run{Joiner: j, machine: machine, progress: progress}
	return r.runJob(ctx, "joining", limiter, r.inspect, r.join)
}

// run is the join or the reconciliation of one machine, through all its attempts.
type run struct {
	*Joiner
	machine  config.Machine
	progress operation.Progress
	outcome  Outcome
	// asks is true where more machines may be at work than are admitted to the API server without asking.
	asks bool
}

// runJob runs the job, and measures it.
func (r *run) runJob(ctx context.Context, verb string, limiter *operation.Limiter,
	inspect func(context.Context) (Inspection, error),
	apply func(context.Context, Inspection) error,
) (Outcome, error) {
	started := time.Now()
	r.asks = limiter != nil && limiter.Limit() > firstAdmitted
	err := r.RunJob(ctx, operation.Job[Inspection]{
		Verb: verb, Machine: r.machine, Limits: r.Cluster.Fleet.Limits, Limiter: limiter, Progress: r.progress,
		InCluster: r.Cluster.Fleet.Limits.ReadyTimeout.Duration, Inspect: inspect, Apply: apply,
	})
	r.outcome.Seconds = time.Since(started).Seconds()
	return r.outcome, err
}

// inspect begins an attempt.
func (r *run) inspect(ctx context.Context) (Inspection, error) {
	r.outcome = Outcome{Machine: r.machine.Name, Node: r.machine.NodeName, Version: r.Version}
	return r.inspectStarting(ctx, r.machine, r.startupTimeout(ctx, r.machine), r.progress)
}

// join ends with a Ready node.
func (r *run) join(ctx context.Context, found Inspection) error {
	if r.leaves(ctx, found) {
		r.outcome.Differs = changesWithEffects(changesOf(found.Facts.Plan))
		return r.finish(ctx, found)
	}
	if err := r.work(ctx, found); err != nil {
		return err
	}
	return r.finish(ctx, found)
}

// leaves reports whether a join leaves the machine as it is although it differs: it has joined, and its node is Ready.
func (r *run) leaves(ctx context.Context, found Inspection) bool {
	if found.Running() || !operation.Wants(found.Facts.Plan) || !found.onlyDiffers(r.Target) {
		return false
	}
	node, err := r.Target.Client.CoreV1().Nodes().Get(ctx, r.machine.NodeName, metav1.GetOptions{})
	return err == nil && NotReady(node, r.Version) == ""
}

// work has the machine carry out the phases that its plan wants, if any.
func (r *run) work(ctx context.Context, found Inspection) error {
	if !found.HasWork() {
		return nil
	}
	found.Operation.Admission = r.asks
	status, remarks, err := r.execute(ctx, found, phases, r.progress)
	r.outcome.Remarks = append(r.outcome.Remarks, remarks...)
	if err != nil {
		return err
	}
	r.outcome.Phases, r.outcome.Changed = status.Phases, status.Changed
	r.outcome.Done = append(r.outcome.Done, operation.Done(status))
	return nil
}

// phaseKubeadm is the machine's phase that uses the bootstrap token.
const phaseKubeadm = "kubeadm"

// Phases of a join in the cluster.
const (
	phaseReady  = "ready"
	phaseLabels = "labels"
)

// phases of a join and of a reconciliation, in the order in which they run.
var phases = operation.Phases{operation.MachinePhases, phaseReady, phaseLabels}

// finish waits for the node and marks it, once the machine's own work is done.
func (r *run) finish(ctx context.Context, found Inspection) error {
	machine, onMachine := r.machine, found.Facts.Plan.Total
	limit := r.Cluster.Fleet.Limits.ReadyTimeout.Duration
	ready, cancel := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("timed out after %s; see `kubectl describe node %s`, and `journalctl -u kubelet` on the machine",
			limit, machine.NodeName))
	defer cancel()
	node, err := r.WaitReady(ready, machine.NodeName, r.Version,
		phases.In(phaseReady, onMachine, r.progress))
	if err != nil {
		return err
	}
	operation.Reportf(phases.In(phaseLabels, onMachine, r.progress), "setting labels and taints")
	changes, err := r.Mark(ctx, machine, node)
	if err != nil {
		return err
	}
	r.outcome.Changed = r.outcome.Changed || len(changes) > 0
	r.outcome.Done = append(r.outcome.Done, changes...)
	return nil
}

// RunJob runs a job whose Apply calls Execute, and deletes the machine's bootstrap tokens after the last attempt,
// however that ended. Between two attempts they stay: one that lost its machine leaves an operation at work there, with
// its token, and the next one attaches to it.
func (j *Joiner) RunJob(ctx context.Context, job operation.Job[Inspection]) error {
	j.Spread.Expect(job.Machine.Name)
	used, apply := false, job.Apply
	job.Apply = func(ctx context.Context, found Inspection) error {
		used = used || found.Running() || found.needsToken(j.Target)
		return apply(ctx, found)
	}
	defer func() {
		if used {
			j.revoke(ctx, job.Machine.Name)
		}
	}()
	return job.Run(ctx)
}

// Execute has the machine carry out the operation that it was inspected for, with a bootstrap token where it needs one,
// feeds it the bundle and the images, and returns how it ended: an error unless it succeeded. It is called within
// RunJob, which deletes the token. phases are those that the machine's own are among.
func (j *Joiner) Execute(ctx context.Context, found Inspection, phases operation.Phases,
	progress operation.Progress,
) (spec.Status, error) {
	status, _, err := j.execute(ctx, found, phases, progress)
	return status, err
}

// execute is Execute, and also returns remarks on the token.
func (j *Joiner) execute(ctx context.Context, found Inspection, phases operation.Phases,
	progress operation.Progress,
) (status spec.Status, remarks []string, err error) {
	op := found.Operation
	if !found.Running() && found.needsToken(j.Target) {
		if err := j.checkNameFreeNow(ctx, found); err != nil {
			return spec.Status{}, nil, err
		}
		token, unbound, err := j.mintFor(ctx, found)
		if err != nil {
			return spec.Status{}, nil, err
		}
		op.Secrets.BootstrapToken = token
		remarks = unbound
	}
	op.Spread = j.spreads(found)
	if op.Spread || !j.pulls(found) {
		op.Join.Bundle.URL = ""
	}
	approver := &approver{
		client: j.Target.Client, machine: found.machine.Name, node: found.machine.NodeName, progress: progress,
	}
	status, err = j.Run(ctx, found.remote, op, func(ctx context.Context, status spec.Status) (spec.Status, error) {
		open, leave := j.opener(found, op, status)
		defer func() { remarks = append(remarks, leave()...) }()
		return j.attend(ctx, found, op, status, approver, open, func(s spec.Status) {
			progress.Report(phases.OfMachine(s))
		})
	})
	return status, append(remarks, approver.notes()...), approver.explain(err)
}

// mintFor makes the token of an operation, and returns a remark where it is good for any node. One that only fetches a
// bundle is bound to no node, so that no certificate is approved for it.
func (j *Joiner) mintFor(ctx context.Context, found Inspection) (token string, remarks []string, err error) {
	why, err := j.groups.whyUnbound(ctx, j.Target.Client, false)
	if err != nil {
		return "", nil, err
	}
	wanted := tokenRequest{machine: found.machine.Name, group: approvedGroup, life: tokenLife(found.Operation)}
	switch joins := found.joins(j.Target); {
	case why != "":
		wanted.group = BootstrapGroup
		if joins {
			remarks = []string{unboundRemark(why)}
		}
	case joins:
		wanted.node = found.machine.NodeName
	}
	token, err = mintToken(ctx, j.Target.Client, wanted, time.Now())
	return token, remarks, err
}

// attend watches a running operation to its end, admits it to the API server, and feeds it the bundle where the machine
// does not fetch it itself, and the images that it asks for.
func (j *Joiner) attend(ctx context.Context, found Inspection, op spec.Operation, status spec.Status,
	approver *approver, open feed.Open, show func(spec.Status),
) (spec.Status, error) {
	feeder := images.NewFeeding(found.remote, op.ID, open)
	group, working := errgroup.WithContext(ctx)
	pushing, stopPushing := context.WithCancel(working)
	defer stopPushing()
	sending, stopSending := context.WithCancel(working)
	defer stopSending()
	approving, stopApproving := context.WithCancel(working)
	defer stopApproving()
	approve := sync.OnceFunc(func() {
		group.Go(func() error {
			approver.run(approving)
			return nil
		})
	})
	// The token is of no more use once the machine has its node's credentials, and good for others to get them until
	// then.
	revoke := sync.OnceFunc(func() {
		stopApproving()
		group.Go(func() error {
			j.revoke(working, found.machine.Name)
			return nil
		})
	})
	place := &place{admission: &j.admission}
	defer place.leave(false)
	admitted := false
	admit := func(status spec.Status) {
		if !admitted {
			admitted = true
			group.Go(func() error { return j.admit(working, found, place, status, show) })
		}
	}
	send := sync.OnceFunc(func() {
		group.Go(func() error { return feeder.Run(sending) })
	})
	pushes := op.Join.Bundle.URL == "" && !status.Spread && wantsBytes(status)
	group.Go(func() error {
		defer stopSending()
		defer stopApproving()
		var err error
		status, err = found.remote.Watch(working, op.ID, func(s spec.Status) {
			show(s)
			switch {
			case hasCredentials(s):
				place.leave(true)
				revoke()
			case op.Kind == spec.KindJoin && s.AwaitsAdmission:
				admit(s)
			case op.Kind == spec.KindJoin && s.Phase == phaseKubeadm:
				place.enterRunning()
				approve()
			}
			if s.Feed != "" {
				feeder.Asked(s.Phase)
				send()
			}
			if !wantsBytes(s) {
				stopPushing() // what is sent now would only be left behind
			}
		})
		stopPushing()
		return err
	})
	if pushes {
		group.Go(func() error {
			err := j.push(pushing, found, op.Join.Bundle)
			if working.Err() == nil && pushing.Err() != nil {
				return nil
			}
			return err
		})
	}
	return status, group.Wait()
}

// hasCredentials reports whether the operation has given the machine its node's credentials, or found them there.
func hasCredentials(status spec.Status) bool {
	return slices.ContainsFunc(status.Phases, func(p spec.Phase) bool {
		return p.Name == phaseKubeadm && (p.Outcome == spec.Held || p.Outcome == spec.Applied)
	})
}

// wantsBytes reports whether a running operation may still wait for its bundle.
func wantsBytes(status spec.Status) bool {
	return !status.State.Final() && !slices.ContainsFunc(status.Phases, func(p spec.Phase) bool {
		return p.Name == "bundle" && (p.Outcome == spec.Held || p.Outcome == spec.Applied)
	})
}

func (j *Joiner) push(ctx context.Context, found Inspection, wanted spec.Bundle) error {
	wanted.URL = found.url
	err := found.remote.PushBundle(ctx, wanted, func(offset int64) (io.ReadCloser, error) {
		return j.Repository.Open(ctx, wanted, offset)
	}, func(int64, int64) {})
	if err != nil {
		return fmt.Errorf("pushing bundle %q: %w", wanted.Name, err)
	}
	return nil
}

// revoke deletes the machine's tokens even when ctx is over, unless the work goes on without us and still needs its
// own.
func (j *Joiner) revoke(ctx context.Context, machine string) {
	if j.Leaves(ctx) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	// A token that can't be deleted now is found by Verify and expires by itself.
	_, _ = revokeTokens(ctx, j.Target.Client, machine)
}
