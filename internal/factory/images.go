package factory

import (
	"context"
	"fmt"

	"argosy.dev/argosy/internal/sources"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/spread"
)

// OpenImages reads cluster from source and makes an Importer for its machines.
func OpenImages(ctx context.Context, source config.Source, keys HostKeys, tools Tools,
	cluster string,
) (*images.Importer, error) {
	documents, err := config.Load(ctx, source, cluster)
	if err != nil {
		return nil, fmt.Errorf("loading cluster %q: %w", cluster, err)
	}
	connector := newConnector(source, keys, documents)
	return &images.Importer{
		Cluster: documents,
		UID: func(ctx context.Context) (string, error) {
			target, err := join.Connect(ctx, source, documents)
			if err != nil {
				return "", err
			}
			return target.UID, nil
		},
		Machine: func(m config.Machine) images.Machine { return connector.machine(m, tools) },
		Supply:  connector.supply(tools.Sources),
		Spread:  spread.NewTracker(),
	}, nil
}

// supply returns the source of the images that the plugin sends, with the registry settings of the documents.
func (r *connector) supply(allowed sources.List) *images.Supply {
	registries := r.cluster.Fleet.Registries
	settings := images.Settings{CACert: registries.CACert, PlainHTTP: registries.PlainHTTP, Sources: allowed}
	settings.Logins = func(ctx context.Context) (map[string]spec.RegistryLogin, error) {
		return registryLogins(ctx, r.source, r.cluster)
	}
	return images.NewSupply(settings)
}
