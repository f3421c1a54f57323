package factory

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
)

// registryLogins are those of the Secret that argosy.yaml names, by the registry's host; none where it names none.
func registryLogins(ctx context.Context, source config.Source,
	documents *config.Cluster,
) (map[string]spec.RegistryLogin, error) {
	name := documents.Fleet.Registries.Secret
	if name == "" {
		return nil, nil
	}
	content, err := source.Secret(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading the logins at registries of cluster %q: %w", documents.Name, err)
	}
	value, found := content[corev1.DockerConfigJsonKey]
	if !found {
		return nil, errclass.Errorf(errclass.Configuration,
			"reading the logins at registries of cluster %q: Secret %q in namespace %q has no key %q; make it with "+
				"kubectl create secret docker-registry",
			documents.Name, name, source.Namespace(), corev1.DockerConfigJsonKey)
	}
	logins, err := join.ReadLogins([]byte(value.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("reading the logins at registries in Secret %q: %w", name, err)
	}
	return logins, nil
}
