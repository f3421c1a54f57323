package factory

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"argosy.dev/argosy/pkg/config"
)

// CheckSecrets reads every Secret that the documents name and returns all that are missing at once.
func CheckSecrets(ctx context.Context, source config.Source, cluster *config.Cluster) error {
	var missing []error
	for _, name := range secretNames(cluster) {
		if _, err := source.Secret(ctx, name); err != nil {
			missing = append(missing, fmt.Errorf("reading a Secret that the documents name: %w", err))
		}
	}
	return errors.Join(missing...)
}

func secretNames(cluster *config.Cluster) []string {
	// The kubeconfig of a hosted cluster is not among them: provisioning writes it.
	names := []string{
		cluster.Fleet.Cluster.KubeconfigSecret, cluster.Fleet.Registries.Secret,
		cluster.VCluster.ControlPlane.BackingStore.Database.External.Connector,
	}
	for _, machine := range cluster.Fleet.Machines {
		ssh := cluster.SSHFor(machine)
		names = append(names, ssh.Secret, ssh.KnownHostsSecret)
		for _, bastion := range ssh.Bastions {
			names = append(names, bastion.Secret)
		}
	}
	if cluster.Hosted() {
		for _, login := range cluster.VCluster.ControlPlane.Advanced.ServiceAccount.ImagePullSecrets {
			names = append(names, login.Name)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}
