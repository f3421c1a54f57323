package upgrade

import (
	"context"
	"fmt"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/join"
)

func checkKubeadm(_ context.Context, c *node.Context) (bool, string, error) {
	wanted := c.Operation.Join.KubernetesVersion
	version, err := join.ConfiguredFor(c)
	if err != nil {
		return false, "", err
	}
	if version != wanted {
		return false, "the node's configuration has to be upgraded to " + wanted, nil
	}
	return true, "the node's configuration is that of " + wanted, nil
}

func applyKubeadm(ctx context.Context, c *node.Context) (string, error) {
	c.SetMessage("running kubeadm upgrade node")
	if err := join.UpgradeConfiguration(ctx, c); err != nil {
		return "", err
	}
	return fmt.Sprintf("kubeadm %s upgraded the node's configuration", c.Operation.Join.KubernetesVersion), nil
}
