package factory

import (
	"context"
	"fmt"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/reset"
)

// OpenReset reads cluster from source and makes a Resetter for its machines. It does not ask the cluster
// itself, which may be gone.
func OpenReset(ctx context.Context, source config.Source, keys HostKeys, tools Tools, cluster string) (*reset.Resetter,
	error,
) {
	documents, err := config.Load(ctx, source, cluster)
	if err != nil {
		return nil, fmt.Errorf("loading cluster %q: %w", cluster, err)
	}
	connector := newConnector(source, keys, documents)
	return &reset.Resetter{
		Cluster: documents,
		Connect: func(ctx context.Context) (*join.Target, error) { return join.Connect(ctx, source, documents) },
		Machine: func(m config.Machine) operation.Machine { return connector.machine(m, tools) },
	}, nil
}
