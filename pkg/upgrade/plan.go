package upgrade

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Preview is a rollout that has not begun: its plan, and the findings on each machine.
type Preview struct {
	// ControlPlane is the version that it runs, and Version the one that all are to have.
	ControlPlane string `json:"controlPlane"`
	Version      string `json:"version"`
	// Moves is true where the control plane goes first.
	Moves bool `json:"moves"`
	// Plan is who is upgraded in which wave.
	Plan rollout.Plan `json:"plan"`
	// Entries are all machines that were asked for.
	Entries []Entry `json:"entries"`
	// Warnings about the whole rollout, in sentences.
	Warnings []string `json:"warnings,omitempty"`
}

// Entry is the plan for one machine.
type Entry struct {
	Machine string `json:"machine"`
	Address string `json:"address"`
	Node    string `json:"node"`
	From    string `json:"from,omitempty"`
	// Wave that the machine is in; empty when it is left as it is.
	Wave string `json:"wave,omitempty"`
	// Refused is true where the machine can't be upgraded as it is; it will fail in its wave.
	Refused bool `json:"refused,omitempty"`
	// Reasons are sentences: why it takes no part, or which problems and pods were found.
	Reasons []string `json:"reasons,omitempty"`
	// Bytes that have to be brought to the machine, as far as it is known.
	Bytes int64 `json:"bytes,omitempty"`
	// Pods are the result of a drain of the node that was only tried.
	Pods *drain.Preflight `json:"pods,omitempty"`
}

// planParallel is how many machines are inspected at once: one SSH login and one exec each, and a request for each pod.
const planParallel = 16

// Plan divides the machines of a cluster into waves, and inspects each of them. It changes nothing, beyond placing
// argosy-node on machines and trying evictions by dry run. It returns an error where the version is not allowed.
// chosen are the machines that the rollout is asked for, nil for all.
func (u *Upgrader) Plan(ctx context.Context, chosen []config.Machine, progress operation.Progress) (Preview, error) {
	preview := Preview{
		ControlPlane: u.Target.Version, Version: u.Version,
		Moves: u.Cluster.Hosted() && u.Target.Version != u.Version,
	}
	machines, nodes, err := u.snapshot(ctx, chosen, time.Now())
	if err != nil {
		return preview, err
	}
	if err := rollout.CheckTarget(preview.ControlPlane, preview.Version, u.Cluster.Hosted(), machines); err != nil {
		return preview, err
	}
	if preview.Plan, err = rollout.Make(machines, u.policy()); err != nil {
		return preview, err
	}
	preview.Warnings = u.deprecations(ctx, preview)
	preview.Entries, err = u.entries(ctx, preview, nodes, progress)
	return preview, err
}

// Again makes a plan of the machines that an earlier run of this rollout began, or should have, and did not upgrade. It
// has no waves in the first run. Machines that a person kept from beginning stay out of it.
func (u *Upgrader) Again(ctx context.Context, chosen []config.Machine) (rollout.Plan, error) {
	machines, nodes, err := u.snapshot(ctx, chosen, time.Now())
	if err != nil {
		return rollout.Plan{}, err
	}
	for i := range machines {
		machine, _ := u.Cluster.Machine(machines[i].Name)
		if machines[i].Skip == "" && !u.leftBefore(nodes[machine.NodeName]) {
			machines[i].Skip = "was not left by an earlier run"
		}
	}
	return rollout.Make(machines, u.policy())
}

// policy is that of the documents.
func (u *Upgrader) policy() rollout.Policy {
	settings := u.Cluster.Fleet.Upgrade
	return rollout.Policy{
		Target: u.Version, MaxUnavailable: u.Cluster.MaxUnavailable(), WaveSize: settings.WaveSize.IntOrString(),
		FailureBudget: settings.FailureBudget.IntOrString(), MaxWaves: maxWaves,
	}
}

// maxWaves keeps a rollout, which is a recursion of its workflow's template with two levels a wave, within Argo's depth
// of 100.
const maxWaves = 40

// entries returns the findings on each machine, those of the waves first, in their order.
func (u *Upgrader) entries(ctx context.Context, preview Preview, nodes map[string]*corev1.Node,
	progress operation.Progress,
) ([]Entry, error) {
	var entries []Entry
	for _, wave := range preview.Plan.Waves {
		for _, name := range wave.Machines {
			entries = append(entries, u.entry(name, wave.Name, nodes))
		}
	}
	work := len(entries)
	for _, name := range preview.Plan.Held {
		entry := u.entry(name, "", nodes)
		entry.Reasons = []string{"is at " + u.Version}
		entries = append(entries, entry)
	}
	for _, left := range preview.Plan.Skipped {
		entry := u.entry(left.Machine, "", nodes)
		entry.Reasons = []string{left.Reason}
		entries = append(entries, entry)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(planParallel)
	done := make(chan struct{}, work)
	answers := &drain.Answers{}
	for i := range entries[:work] {
		group.Go(func() error {
			u.inspect(ctx, &entries[i], preview, nodes[entries[i].Node], answers)
			done <- struct{}{}
			count := int64(len(done))
			progress.Report(operation.Event{
				Done: count, Total: int64(work), Unit: operation.Machines,
				Detail: fmt.Sprintf("inspected %d of %d machines", count, work),
			})
			return context.Cause(ctx)
		})
	}
	return entries, group.Wait()
}

func (u *Upgrader) entry(name, wave string, nodes map[string]*corev1.Node) Entry {
	machine, _ := u.Cluster.Machine(name)
	entry := Entry{Machine: name, Address: machine.Address, Node: machine.NodeName, Wave: wave}
	if node := nodes[machine.NodeName]; node != nil {
		entry.From = node.Status.NodeInfo.KubeletVersion
	}
	return entry
}

// inspect inspects one machine and the pods of its node. answers are shared by all machines of the plan.
func (u *Upgrader) inspect(ctx context.Context, entry *Entry, preview Preview, node *corev1.Node,
	answers *drain.Answers,
) {
	machine, _ := u.Cluster.Machine(entry.Machine)
	refuse := func(err error) {
		entry.Refused = true
		entry.Reasons = append(entry.Reasons, err.Error())
	}
	if preview.Moves && u.Cluster.BundlesFromControlPlane() {
		// The bundle comes with the control plane that is yet to come.
		if _, err := u.Machine(machine).Inspect(ctx, spec.Question{}); err != nil {
			refuse(err)
			return
		}
	} else if err := u.inspectMachine(ctx, entry, machine); err != nil {
		refuse(err)
		return
	}
	if rule := u.Cluster.UpgradeRuleFor(machine); !*rule.Drain {
		entry.Reasons = append(entry.Reasons, "its pods stay")
		return
	}
	with := drain.Drainer{Client: u.Target.Client, Policy: u.Cluster.Fleet.Drain, Answers: answers}
	pods, err := with.Preflight(ctx, node, nil)
	if err != nil {
		refuse(err)
		return
	}
	entry.Pods = &pods
	entry.Reasons = append(entry.Reasons, pods.Reasons()...)
	if err := pods.Refusal(); err != nil {
		refuse(err)
	}
}

func (u *Upgrader) inspectMachine(ctx context.Context, entry *Entry, machine config.Machine) error {
	seen, err := u.Inspect(ctx, machine, spec.KindUpgrade)
	if err != nil {
		return err
	}
	if err := seen.Refusal(machine.Name); err != nil {
		return err
	}
	if wantsBundle(seen) {
		entry.Bytes = seen.BundleSize()
	}
	return nil
}

// Refused are the machines of a plan that can't be upgraded as they are.
func (p Preview) Refused() []Entry {
	return slices.DeleteFunc(slices.Clone(p.Entries), func(e Entry) bool { return !e.Refused })
}

// String is a line or a few for people.
func (p Preview) String() string {
	lines := []string{fmt.Sprintf("%d of %d machines go to %s in %s", p.Plan.Size(), len(p.Entries), p.Version,
		count.Of(len(p.Plan.Waves), "wave"))}
	if p.Moves {
		lines[0] = fmt.Sprintf("the control plane goes from %s to %s, then ", p.ControlPlane, p.Version) + lines[0]
	}
	bytes := int64(0)
	for _, entry := range p.Entries {
		bytes += entry.Bytes
	}
	if bytes > 0 {
		lines[0] += fmt.Sprintf(", %d MB to send", (bytes+999_999)/1_000_000)
	}
	for _, entry := range p.Refused() {
		lines = append(lines, fmt.Sprintf("%s: %s", entry.Machine, strings.Join(entry.Reasons, "; ")))
	}
	return strings.Join(append(lines, p.Warnings...), "\n")
}

// Table prints the plan for people, a machine a line, further reasons beneath.
func (p Preview) Table() string {
	table := operation.NewTable("WAVE", "MACHINE", "FROM", "TO", "WHAT")
	for _, entry := range p.Entries {
		to, said := p.Version, entry.Reasons
		if entry.Wave == "" {
			to = entry.From
		}
		if len(said) == 0 {
			said = []string{""}
		}
		table.Add(said, entry.Wave, entry.Machine, entry.From, to)
	}
	return table.String()
}

// LatestPatch is the newest patch that can be had of the minor version that the control plane runs. Repositories have
// no list, and registries a long one, so the next numbers are asked for, and a gap of a few is looked over.
func (u *Upgrader) LatestPatch(ctx context.Context) (string, error) {
	runs, err := version.ParseSemantic(u.Target.Version)
	if err != nil {
		return "", fmt.Errorf("reading the control plane's version: %w", err)
	}
	latest := ""
	for patch, missed := runs.Patch(), 0; missed < maxMisses; patch++ {
		next := fmt.Sprintf("v%d.%d.%d", runs.Major(), runs.Minor(), patch)
		found := false
		err := u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) (err error) {
			found, err = u.published(ctx, next)
			return err
		})
		switch {
		case err != nil:
			return "", fmt.Errorf("looking for the latest patch of v%d.%d: %w", runs.Major(), runs.Minor(), err)
		case found:
			latest, missed = next, 0
		default:
			missed++
		}
	}
	if latest == "" {
		// Without this error, a wrong repository would look like one with no later patch.
		return "", errclass.Errorf(errclass.Configuration, "looking for the latest patch of v%d.%d: there is neither "+
			"%s nor a later one where bundles come from: name the version, or set bundles.repository in argosy.yaml",
			runs.Major(), runs.Minor(), u.Target.Version)
	}
	return latest, nil
}

// maxMisses is how many missing patch releases in a row end the search.
const maxMisses = 3

// published reports whether a version is available: its bundle, or the image of a control plane that contains the
// bundle.
func (u *Upgrader) published(ctx context.Context, version string) (bool, error) {
	if !u.Cluster.BundlesFromControlPlane() {
		return u.Repository.Has(ctx, version)
	}
	at, err := u.Cluster.AtVersion(version)
	if err != nil {
		return false, err
	}
	return u.Images.Has(ctx, at.ControlPlaneImage())
}
