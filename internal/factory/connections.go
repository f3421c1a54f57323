package factory

import (
	"context"
	"fmt"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/machine"
)

// Connections are the machines of a cluster alone: the cluster itself is not connected to.
type Connections struct {
	Cluster *config.Cluster
	// Connect returns a connection to a machine, which Tools.Pool closes.
	Connect func(ctx context.Context, m config.Machine) (machine.Connection, error)
}

// OpenConnections reads cluster from source, for connections to its machines.
func OpenConnections(ctx context.Context, source config.Source, keys HostKeys, tools Tools, cluster string) (
	*Connections, error,
) {
	documents, err := config.Load(ctx, source, cluster)
	if err != nil {
		return nil, fmt.Errorf("loading cluster %q: %w", cluster, err)
	}
	connector := newConnector(source, keys, documents)
	return &Connections{
		Cluster: documents,
		Connect: func(ctx context.Context, m config.Machine) (machine.Connection, error) {
			return connector.dial(m, tools)(ctx)
		},
	}, nil
}
