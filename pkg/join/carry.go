package join

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/spec"
)

// Carry has the machine carry out the operation that it was looked at for, feeds it what it asks for, and returns how
// it ended: an error unless it succeeded. before and after are how many phases come before and after the machine's own,
// for the numbers in what is reported.
func (c *Conductor) Carry(ctx context.Context, found Inspection, before, after int, report func(string)) (spec.Status,
	error) {
	if !found.Running() && found.needsToken(c.Target) {
		defer c.revoke(ctx, found.machine.Name)
	}
	return c.execute(ctx, found, before, after, report)
}

// WaitReady returns a node once it is Ready at version. It reports each change of the reason why it is not.
func (c *Conductor) WaitReady(ctx context.Context, node, version string, report func(string)) (*corev1.Node, error) {
	return waitReady(ctx, c.Target.Client, node, version, report)
}

// Mark sets the labels and taints that the documents want of a machine's node, and says what it set.
func (c *Conductor) Mark(ctx context.Context, machine config.Machine, node *corev1.Node) ([]string, error) {
	return markNode(ctx, c.Target.Client, node, machine.Labels, c.Cluster.Taints(machine))
}

// NotReady says why a node is not Ready at version; "" when it is.
func NotReady(node *corev1.Node, version string) string { return notReady(node, version) }
