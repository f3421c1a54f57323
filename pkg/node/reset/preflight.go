package reset

import (
	"context"
	"errors"
	"fmt"
	"os"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/kubeconfig"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkPreflight refuses machines that are not Argosy's at all, see foreign, and then those that are another cluster's.
// A machine on which there is nothing holds.
//
//	there is                             cluster known by its UID     cluster gone
//	a record                             the UIDs must be equal       the clusters' names must be equal
//	a record that cannot be read         as without one               the last join's cluster must be this one
//	credentials of a kubelet             its CA must be the cluster's not looked at
//	containers of other than pods in     refused                      refused
//	Argosy's containerd
func (c *cleaner) checkPreflight(ctx context.Context, n *node.Context) (bool, string, error) {
	if err := node.Problems(errclass.Configuration, "the operation is not valid on any machine",
		validate(n.Operation.Reset)); err != nil {
		return false, "", err
	}
	problems, err := c.foreign(ctx, n)
	if err != nil {
		return false, "", err
	}
	record, unreadable := n.Store.Record()
	if unreadable != nil && !errors.Is(unreadable, node.ErrUnreadable) {
		return false, "", unreadable
	}
	problems = append(problems, foreignNode(n, record, unreadable)...)
	problems = append(problems, foreignWork(n)...)
	if err := node.Problems(errclass.Permanent, "the machine is not reset, and nothing on it was touched",
		problems); err != nil {
		return false, "", err
	}
	return true, nodeDetail(n, record, unreadable) + foreignRemark(n), nil
}

// nodeDetail returns the detail: which node the machine is.
func nodeDetail(n *node.Context, record *spec.Record, unreadable error) string {
	switch {
	case unreadable != nil:
		return fmt.Sprintf("Argosy made the machine a node, and its record of which one cannot be read (%v)",
			unreadable)
	case record == nil && len(nodeMarks(n.Host)) > 0:
		return "the machine's join did not finish"
	case record == nil:
		return "Argosy has not joined the machine to a cluster"
	}
	return fmt.Sprintf("the machine is node %s of cluster %s, at %s", record.NodeName, record.Cluster, record.Version)
}

// foreignRemark returns a remark on other Kubernetes software, of which there are remains or which runs in containers.
func foreignRemark(n *node.Context) string {
	text := ""
	for _, other := range others(n) {
		text += fmt.Sprintf("; %s stays as it is", other)
	}
	return text
}

// applyPreflight is only called when the check neither held nor failed, which it never does.
func applyPreflight(context.Context, *node.Context) (string, error) {
	return "", errors.New("preflight has nothing to apply")
}

// foreignNode returns the reason why the machine is another cluster's node; "" when it is not.
func foreignNode(n *node.Context, record *spec.Record, unreadable error) []string {
	wanted := n.Operation.Reset
	var problems []string
	switch {
	case unreadable != nil && wanted.ClusterUID == "":
		if last := lastJoined(n); last != "" && last != n.Operation.Cluster {
			problems = append(problems, fmt.Sprintf("The machine's record cannot be read (%v), and it last joined "+
				"cluster %q, not %q; reset it from cluster %q.", unreadable, last, n.Operation.Cluster, last))
		}
	case record == nil:
	case wanted.ClusterUID != "" && record.ClusterUID != wanted.ClusterUID:
		problems = append(problems, fmt.Sprintf("The machine is node %q of a cluster %q with the UID %s, and cluster "+
			"%q has the UID %s; reset it from its own cluster, or, if that one is gone, set clusterGone "+
			"(argosy reset --cluster-gone).",
			record.NodeName, record.Cluster, record.ClusterUID, n.Operation.Cluster, wanted.ClusterUID))
	case wanted.ClusterUID == "" && record.Cluster != n.Operation.Cluster:
		problems = append(problems, fmt.Sprintf("The machine is node %q of cluster %q, not of %q; reset it from "+
			"cluster %q.", record.NodeName, record.Cluster, n.Operation.Cluster, record.Cluster))
	}
	config, _ := kubeconfig.Read(n.Host, inspect.KubeletConf)
	if config != nil && len(config.CA) > 0 && wanted.CACert != "" &&
		!kubeconfig.SameCA(config.CA, []byte(wanted.CACert)) {
		problems = append(problems, fmt.Sprintf("The machine's kubelet is a node of %q, which is another cluster "+
			"than %q by its certificate authority; reset it from that cluster.",
			config.Server, n.Operation.Cluster))
	}
	return problems
}

// lastJoined returns the cluster of the last join in the machine's operations; "" for none.
func lastJoined(n *node.Context) string {
	for _, status := range n.Store.Operations() {
		if status.Kind == spec.KindJoin {
			return status.Cluster
		}
	}
	return ""
}

// foreignWork returns the problems of a machine with containers of others that a reset would end.
func foreignWork(n *node.Context) []string {
	var problems []string
	if os.Geteuid() != 0 && n.Host.Root == "" {
		problems = append(problems, "argosy-node does not run as root; allow sudo to the user that Argosy logs in as.")
	}
	if !ownsContainerd(n.Host) {
		return problems
	}
	for namespace, processes := range shims(n.Host) {
		if namespace != podNamespace {
			problems = append(problems, fmt.Sprintf("Containerd, which would be removed, runs %s of the "+
				"namespace %q, which are not pods; stop them first.",
				count.Of(len(processes), "container"), namespace))
		}
	}
	return problems
}
