package factory

import (
	"cmp"
	"context"

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
	rollout := &upgrade.Upgrader{Joiner: joiner, Pods: pods}
	pods.Owner = func() string { return rollout.Rollout } // it is set after this
	return rollout, nil
}
