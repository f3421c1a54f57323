package join

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/node/spec"
)

// Sight is what one look at a machine showed: its facts, and what an operation would do there.
type Sight struct{ seen sight }

// Facts of the machine; their Plan is the operation's.
func (s Sight) Facts() spec.Facts { return s.seen.facts }

// Running says whether the machine works on this very operation now.
func (s Sight) Running() bool { return s.seen.running() }

// Look asks a machine what an operation would do there that wants of it what a join does, at the conductor's version: a
// stage, an upgrade or a rollback.
func (c *Conductor) Look(ctx context.Context, machine config.Machine, kind spec.Kind) (Sight, error) {
	seen, err := c.look(ctx, machine, kind)
	return Sight{seen}, err
}

// Carry has the machine carry out the operation that it was looked at for, feeds it what it asks for, and returns how
// it ended: an error unless it succeeded. before and after are how many phases come before and after the machine's own,
// for the numbers in what is reported.
func (c *Conductor) Carry(ctx context.Context, seen Sight, before, after int, report func(string)) (spec.Status,
	error) {
	if !seen.Running() && seen.seen.needsToken(c.Target) {
		defer c.revoke(ctx, seen.seen.machine.Name)
	}
	return c.work(ctx, seen.seen, before, after, report)
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

// BundleSize is the size of the bundle that the operation wants, in bytes; 0 when it is not known.
func (s Sight) BundleSize() int64 { return s.seen.operation.Join.Bundle.Size }
