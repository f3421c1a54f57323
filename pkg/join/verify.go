package join

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
)

// Finding is the state of one machine in the cluster after a join.
type Finding struct {
	Machine string `json:"machine"`
	Node    string `json:"node"`
	Version string `json:"version,omitempty"`
	// Runtime as the node reports it, e.g. "containerd://2.2.9".
	Runtime string `json:"runtime,omitempty"`
	// Problems are sentences; none means that the machine is as wanted.
	Problems []string `json:"problems,omitempty"`
}

// Verify reads the cluster, and asks no machine: every machine's node is there, Ready, at whatever version, with its
// labels and taints, and no bootstrap token of ours is left. Tokens left by an attempt that died are deleted. Requests
// of kubelets for their next serving certificates are approved; a kubelet makes one weeks before the present one ends.
func (j *Joiner) Verify(ctx context.Context, machines []config.Machine) ([]Finding, error) {
	nodes, err := j.Target.Nodes(ctx, j.Cluster.Name)
	if err != nil {
		return nil, err
	}
	refused, err := j.approveServing(ctx, nodes)
	if err != nil && !apierrors.IsForbidden(err) {
		return nil, err
	}
	tokens, listed := tokensByMachine(ctx, j.Target.Client)
	findings := make([]Finding, 0, len(machines))
	for _, machine := range machines {
		finding := j.examine(machine, nodes[machine.NodeName])
		if reason := refused[machine.NodeName]; reason != "" {
			finding.Problems = append(finding.Problems, "its kubelet "+reason)
		}
		err := listed
		if err == nil {
			err = deleteTokens(ctx, j.Target.Client, machine.Name, tokens[machine.Name])
		}
		if err != nil {
			finding.Problems = append(finding.Problems, err.Error())
		}
		findings = append(findings, finding)
	}
	return findings, nil
}

func (j *Joiner) examine(machine config.Machine, node *corev1.Node) Finding {
	finding := Finding{Machine: machine.Name, Node: machine.NodeName}
	if node == nil {
		finding.Problems = []string{"is not a node of cluster " + j.Cluster.Name}
		return finding
	}
	finding.Version, finding.Runtime = node.Status.NodeInfo.KubeletVersion, node.Status.NodeInfo.ContainerRuntimeVersion
	// That a machine has yet to be upgraded is no fault of a join.
	if reason := NotReady(node, finding.Version); reason != "" {
		finding.Problems = append(finding.Problems, reason)
	}
	if _, missing := markPatch(node, machine.Labels, j.Cluster.Taints(machine)); len(missing) > 0 {
		finding.Problems = append(finding.Problems, "lacks "+strings.Join(missing, ", "))
	}
	return finding
}

// Unsound returns the findings that have problems.
func Unsound(findings []Finding) []Finding {
	var unsound []Finding
	for _, finding := range findings {
		if len(finding.Problems) > 0 {
			unsound = append(unsound, finding)
		}
	}
	return unsound
}

// FindingsTable prints findings for people.
func FindingsTable(findings []Finding) string {
	table := operation.NewTable("MACHINE", "NODE", "STATE", "VERSION", "RUNTIME")
	for _, f := range findings {
		state := "Ready"
		if len(f.Problems) > 0 {
			state = strings.Join(f.Problems, "; ")
		}
		table.Add([]string{f.Runtime}, f.Machine, f.Node, state, f.Version)
	}
	return table.String()
}
