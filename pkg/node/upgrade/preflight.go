package upgrade

import (
	"context"
	"errors"
	"fmt"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/join"
)

// checkPreflight holds on a machine that is the node to upgrade. The plugin has checked the version against the control
// plane.
func checkPreflight(ctx context.Context, c *node.Context) (bool, string, error) {
	if err := node.Problems(errclass.Configuration, "the operation is not valid on any machine",
		join.Validate(c.Operation.Join)); err != nil {
		return false, "", err
	}
	if why := join.NotThisNode(ctx, c); why != "" {
		return false, "", node.Problems(errclass.Permanent, "the machine cannot be upgraded", []string{why})
	}
	if why := join.Cgroups(ctx, c); why != "" {
		return false, "", node.Problems(errclass.Permanent, "the machine cannot be upgraded", []string{why})
	}
	moved, err := join.ServerChange(ctx, c)
	if err != nil {
		return false, "", err
	}
	record, err := c.Store.Record()
	if errors.Is(err, node.ErrUnreadable) {
		return false, "", &node.Failure{Err: err, Hint: "submit workflow join first, which writes the record anew"}
	}
	if err != nil {
		return false, "", err
	}
	if record == nil {
		return false, "", errclass.With(errclass.Permanent,
			errors.New("the machine has no record of its join; submit workflow join first, which writes it"))
	}
	if j := c.Operation.Join; record.ClusterUID != j.ClusterUID || record.NodeName != j.NodeName {
		return false, "", errclass.Errorf(errclass.Permanent,
			"the machine's record is of node %q of cluster %q; submit workflow join first, which writes it anew",
			record.NodeName, record.Cluster)
	}
	return true, fmt.Sprintf("the machine is node %s at %s%s", record.NodeName, record.Version, moved), nil
}

// nothing is the Apply of a phase whose check holds or fails.
func nothing(context.Context, *node.Context) (string, error) {
	return "", errors.New("the phase has nothing to apply")
}
