package factory

import (
	"cmp"
	"context"
	"fmt"
	"time"

	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/machine"
	"argosy.dev/argosy/pkg/machine/bypod"
	"argosy.dev/argosy/pkg/upgrade"
)

// OpenUpgrade reads cluster from source and makes an Upgrader for its machines. One that SSH does not reach
// it reaches by a pod on its node, of privateNodes.autoUpgrade.image, or image where the documents name none.
func OpenUpgrade(ctx context.Context, source config.Source, keys HostKeys, tools Tools, cluster,
	image string,
) (*upgrade.Upgrader, error) {
	joiner, connector, err := open(ctx, source, keys, tools, cluster)
	if err != nil {
		return nil, err
	}
	documents := joiner.Cluster
	settings := documents.VCluster.PrivateNodes.AutoUpgrade
	pods := &bypod.Pods{
		Client: joiner.Target.Client, Config: joiner.Target.REST,
		Image:      documents.ImageRef(cmp.Or(settings.Image, documents.Fleet.ControlPlane.Image, image)),
		PullPolicy: settings.ImagePullPolicy, PodSecurity: settings.PodSecurityContext,
		ContainerSecurity: settings.ContainerSecurityContext,
	}
	joiner.Machine = func(m config.Machine) join.Machine {
		return machine.New(m.Name, pods.WithFallback(connector.dial(m, tools), m.NodeName), tools.Agent,
			documents.Settings(m).BinariesPath)
	}
	leases, err := leasesOf(joiner.Target.Renewing)
	if err != nil {
		return nil, err
	}
	rollout := &upgrade.Upgrader{
		Joiner: joiner, Pods: pods, Leases: leases, ServerVersion: joiner.Target.ServerVersion,
	}
	pods.Owner = func() string { return rollout.Rollout } // it is set after this
	return rollout, nil
}

// leaseTimeout bounds one request for the Lease, which is renewed four times in its life.
const leaseTimeout = 10 * time.Second

// leasesOf returns a client for the rollout's Lease with a rate of its own: the evictions of a thousand pods, each
// asked for again and again, wait for each other in the other one.
func leasesOf(cluster *rest.Config) (coordinationclient.LeasesGetter, error) {
	own := rest.CopyConfig(cluster)
	own.RateLimiter, own.Timeout = nil, leaseTimeout
	client, err := coordinationclient.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("making the client of the rollout's Lease: %w", err)
	}
	return client, nil
}
