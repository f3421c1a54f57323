package fleet

import (
	"context"
	"fmt"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/images"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/secret"
)

// OpenImages reads cluster from source and makes a conductor that imports images into its machines.
func OpenImages(ctx context.Context, source config.Source, keys HostKeys, tools Tools, cluster string) (*images.Conductor, error) {
	documents, err := config.Load(ctx, source, cluster)
	if err != nil {
		return nil, fmt.Errorf("loading cluster %q: %w", cluster, err)
	}
	reach := newReach(source, keys, documents)
	return &images.Conductor{
		Cluster: documents,
		UID: func(ctx context.Context) (string, error) {
			target, err := join.Connect(ctx, source, documents)
			if err != nil {
				return "", err
			}
			return target.UID, nil
		},
		Machine: func(m config.Machine) images.Machine { return reach.machine(m, tools) },
		Supply:  reach.supply(),
	}, nil
}

// supply is what the plugin sends, reached as the documents say.
func (r *reach) supply() *images.Supply {
	registries := r.cluster.Fleet.Registries
	settings := images.Settings{CACert: registries.CACert, PlainHTTP: registries.PlainHTTP}
	if registries.Secret != "" {
		settings.Logins = func(ctx context.Context) (secret.Value, error) { return r.logins(ctx, registries.Secret) }
	}
	return images.NewSupply(settings)
}

func (r *reach) logins(ctx context.Context, name string) (secret.Value, error) {
	content, err := r.secret(ctx, name)
	if err != nil {
		return secret.Value{}, fmt.Errorf("reading the logins at registries: %w", err)
	}
	logins, ok := content[images.LoginsKey]
	if !ok {
		return secret.Value{}, fault.As(fault.Configuration, fmt.Errorf("reading the logins at registries: Secret %q has no key %s, as those of type kubernetes.io/dockerconfigjson have", name, images.LoginsKey))
	}
	return logins, nil
}
