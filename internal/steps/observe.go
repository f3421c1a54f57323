package steps

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/pki"
	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/upgrade"
)

// described is the change of a cluster's state by its documents. controlPlane is the version of the API
// server; empty where it was not asked.
func described(cluster *config.Cluster, controlPlane string) state.Change {
	documents := state.Documents{Hosted: cluster.Hosted(), ControlPlaneVersion: controlPlane}
	if cluster.NamesVersion() {
		documents.WantedVersion = cluster.KubernetesVersion()
	}
	for _, machine := range cluster.Fleet.Machines {
		documents.Machines = append(documents.Machines, machine.Name)
	}
	return state.Described(documents)
}

// describedBy is described with the API server's version and the end of its authority.
func describedBy(joiner *join.Joiner) []state.Change {
	changes := []state.Change{described(joiner.Cluster, joiner.Target.Version)}
	if ends, err := pki.Expiry([]byte(joiner.Target.CACert)); err == nil {
		changes = append(changes, state.CertificateEnds(state.CertificateAuthority, ends))
	}
	return changes
}

// observePlan records the plan of a join or a reconciliation.
func (e *Env) observePlan(ctx context.Context, call plugin.Call, joiner *join.Joiner, entries []join.Entry) {
	if e.State == nil {
		return
	}
	now, changes := time.Now(), describedBy(joiner)
	versions := e.nodeVersions(ctx, joiner, entries)
	for _, entry := range entries {
		observation := state.Observation{
			Machine: entry.Machine, Node: entry.Node, State: stateOf[entry.Action],
			Message: strings.Join(entry.Reasons, "; "), Version: versions[entry.Node],
		}
		switch entry.Action {
		case join.ActionReconcile, join.ActionMark:
			observation.Drifted, observation.Version = true, entry.Version
		case join.ActionNothing:
			observation.Version = entry.Version
		}
		changes = append(changes, state.Observed(observation, now))
	}
	e.record(call, joiner.Cluster.Name, changes...)
	if refused := join.Refused(entries); len(refused) > 0 {
		e.State.Event(call.Workflow.Namespace, joiner.Cluster.Name, refusal(refused, len(entries)))
	}
	for _, entry := range join.Refused(entries) {
		if versions[entry.Node] != "" {
			e.nodeEvent(ctx, call, joiner, entry.Node, refusal([]join.Entry{entry}, 1))
		}
	}
}

// stateOf is the state of a machine by its plan.
var stateOf = map[join.Action]state.MachineState{
	join.ActionJoin: state.Pending, join.ActionMark: state.Ready, join.ActionReconcile: state.Ready,
	join.ActionUpgrade: state.Ready, join.ActionNothing: state.Ready, join.ActionRefuse: state.Refused,
}

// nodeVersions returns the versions of nodes, which a plan has not got for machines at another version and for refused
// ones. It is empty where all are as wanted.
func (e *Env) nodeVersions(ctx context.Context, joiner *join.Joiner, entries []join.Entry) map[string]string {
	if len(join.Refused(entries))+len(join.AtOtherVersion(entries)) == 0 {
		return nil
	}
	nodes, err := joiner.Target.Nodes(ctx, joiner.Cluster.Name)
	if err != nil {
		e.log.Warn("the versions of nodes were not read", "cluster", joiner.Cluster.Name, "error", err.Error())
		return nil
	}
	versions := make(map[string]string, len(nodes))
	for name, node := range nodes {
		versions[name] = node.Status.NodeInfo.KubeletVersion
	}
	return versions
}

// refusal is the event of machines that a plan refuses, of which it names a few.
func refusal(refused []join.Entry, all int) state.Event {
	const most = 5
	lines := make([]string, 0, most)
	for _, entry := range refused[:min(most, len(refused))] {
		lines = append(lines, machineLine(entry.Machine, entry.Reasons))
	}
	return state.Event{Warning: true, Reason: "Refused", Message: fmt.Sprintf("%d of %s refused: %s", len(refused),
		count.Of(all, "machine"), strings.ReplaceAll(strings.Join(lines, "; "), "\n", " "))}
}

// observeFindings records the check of a cluster.
func (e *Env) observeFindings(call plugin.Call, joiner *join.Joiner, findings []join.Finding) {
	if e.State == nil {
		return
	}
	now, changes := time.Now(), describedBy(joiner)
	for _, finding := range findings {
		observation := state.Observation{
			Machine: finding.Machine, Node: finding.Node, Version: finding.Version, State: state.Ready,
			Message: strings.Join(finding.Problems, "; "),
		}
		if len(finding.Problems) > 0 {
			observation.State = state.NotReady
		}
		changes = append(changes, state.Checked(observation, now))
	}
	e.record(call, joiner.Cluster.Name, changes...)
}

// observeUpgradePlan records the versions of machines and, unless nothing will be done, that the rollout begins.
func (e *Env) observeUpgradePlan(call plugin.Call, upgrader *upgrade.Upgrader, preview upgrade.Preview, dryRun bool) {
	if e.State == nil {
		return
	}
	now, changes := time.Now(), describedBy(upgrader.Joiner)
	for _, entry := range preview.Entries {
		changes = append(changes, state.Checked(state.Observation{
			Machine: entry.Machine, Node: entry.Node, Version: entry.From,
		}, now))
	}
	if size := preview.Plan.Size(); !dryRun && size > 0 {
		changes = append(changes, state.RolloutBegan(state.Rollout{
			Version: preview.Version, Started: metav1.NewTime(now), Waves: len(preview.Plan.Waves), Machines: size,
		}))
	}
	e.record(call, upgrader.Cluster.Name, changes...)
	var refused []join.Entry
	for _, entry := range preview.Refused() {
		refused = append(refused, join.Entry{Machine: entry.Machine, Reasons: entry.Reasons})
	}
	if len(refused) > 0 {
		e.State.Event(call.Workflow.Namespace, upgrader.Cluster.Name, refusal(refused, len(preview.Entries)))
	}
}

// observeSummary records the results of machines of a workflow that has ended, as far as the plugin that had their
// steps could not.
func (e *Env) observeSummary(call plugin.Call, template string, machines []machineResult) {
	if e.State == nil {
		return
	}
	now, changes := time.Now(), make([]state.Change, 0, len(machines)+1)
	for _, result := range machines {
		if isGroup(result.Machine) {
			continue // nothing is known of its machines
		}
		after := cmp.Or(machineSteps[template].after, state.Ready)
		if result.Phase != wfv1.NodeSucceeded && result.Phase != wfv1.NodeSkipped {
			after = state.Failed
		}
		changes = append(changes, state.Interrupted(result.Machine, after, result.Message, now))
	}
	e.record(call, call.Input("cluster"), append(changes, state.Settled(now))...)
}
