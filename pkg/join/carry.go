package join

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

// Carry has the machine carry out the operation that it was looked at for, feeds it what it asks for, and returns how
// it ended: an error unless it succeeded. phases are those that the machine's own are among.
func (c *Joiner) Carry(ctx context.Context, found Inspection, phases operation.Phases,
	progress operation.Progress) (spec.Status, error) {
	if !found.Running() && found.needsToken(c.Target) {
		defer c.revoke(ctx, found.machine.Name)
	}
	return c.execute(ctx, found, phases, progress)
}

// WaitReady returns a node once it is Ready at version. It reports each change of the reason why it is not.
func (c *Joiner) WaitReady(ctx context.Context, node, version string,
	progress operation.Progress) (*corev1.Node, error) {
	return waitReady(ctx, c.Target.Client, node, version, progress)
}

// Mark sets the labels and taints that the documents want of a machine's node, and says what it set.
func (c *Joiner) Mark(ctx context.Context, machine config.Machine, node *corev1.Node) ([]string, error) {
	return markNode(ctx, c.Target.Client, node, machine.Labels, c.Cluster.Taints(machine))
}

// NotReady says why a node is not Ready at version; "" when it is.
func NotReady(node *corev1.Node, version string) string { return notReady(node, version) }
