package join

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// joiningPhases are those that only a join carries out. All other phases of a joined machine are reconciled.
var joiningPhases = []string{"pre-install", "pre-join", "kubeadm", "post-join"}

// joined reports whether the machine's own record names this cluster and this node, so that its join is finished.
func (i Inspection) joined(target *Target) bool {
	record := i.Facts.Record
	return record != nil && record.ClusterUID == target.UID && record.NodeName == i.machine.NodeName
}

// atOtherVersion reports whether the machine is a node that serves at another version than the Joiner's.
func (i Inspection) atOtherVersion(joiner *Joiner, node *corev1.Node) bool {
	if node == nil || i.Running() || !i.joined(joiner.Target) {
		return false
	}
	runs := node.Status.NodeInfo.KubeletVersion
	return runs == i.Facts.Record.Version && runs != joiner.Version && NotReady(node, runs) == ""
}

// onlyDiffers reports whether the machine has joined, and its plan wants no phase of joining.
func (i Inspection) onlyDiffers(target *Target) bool {
	return i.joined(target) && !slices.ContainsFunc(operation.WantedPhases(i.Facts.Plan), func(phase string) bool {
		return slices.Contains(joiningPhases, phase)
	})
}

// needsToken reports whether the plan wants a phase that needs a bootstrap token: joining, or fetching a bundle from a
// control plane.
func (i Inspection) needsToken(target *Target) bool {
	return i.joins(target) || slices.Contains(operation.WantedPhases(i.Facts.Plan), "bundle")
}

// joins reports whether the operation makes the machine a node.
func (i Inspection) joins(target *Target) bool {
	return i.Operation.Kind == spec.KindJoin && !i.onlyDiffers(target)
}

// changesOf returns the changes that all phases of a plan noted.
func changesOf(plan *spec.Status) []spec.Change {
	var changes []spec.Change
	for _, phase := range plan.Phases {
		changes = append(changes, phase.Changes...)
		if phase.Outcome == spec.Wanted && len(phase.Changes) == 0 {
			changes = append(changes, spec.Change{What: phase.Detail, Effect: spec.NoRestart})
		}
	}
	return changes
}

// changesWithEffects names changes with their effects: "/etc/containerd/config.toml (restarts containerd)".
func changesWithEffects(changes []spec.Change) []string {
	var names []string
	for _, change := range changes {
		name := change.What
		if change.Effect != spec.NoRestart {
			name += fmt.Sprintf(" (%s)", change.Effect)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Diffs returns the differences of machines that have joined, file by file; empty when there are none.
func Diffs(entries []Entry) string {
	var text strings.Builder
	for _, entry := range entries {
		for _, change := range entry.Changes {
			_, _ = fmt.Fprintf(&text, "%s: %s (%s)\n%s", entry.Machine, change.What, effect(change.Effect), change.Diff)
		}
	}
	return text.String()
}

func effect(e spec.Effect) string {
	if e == spec.NoRestart {
		return "without a restart"
	}
	return string(e)
}
