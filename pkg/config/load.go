package config

import (
	"context"
	"errors"
	"fmt"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/secret"
)

// ErrNotFound is wrapped by a Source's error when there is no such object. The caller adds the command that creates it.
var ErrNotFound = errors.New("not found")

// Source reads ConfigMaps and Secrets of one namespace of the host cluster. Its errors have a class; one that wraps
// ErrNotFound has class errclass.Configuration.
type Source interface {
	// ConfigMap returns the data of a ConfigMap.
	ConfigMap(ctx context.Context, name string) (map[string]string, error)
	// Secret returns the data of a Secret, decoded.
	Secret(ctx context.Context, name string) (map[string]secret.Value, error)
	// Namespace returns the namespace that is read.
	Namespace() string
}

// Load reads the documents of a cluster from the ConfigMap of its name. An error has class errclass.Configuration when
// the user has to change something; Problems are in its chain when the documents were read and are wrong.
func Load(ctx context.Context, source Source, cluster string) (*Cluster, error) {
	check := &document{}
	if cluster == "" || !check.object("cluster", cluster) {
		return nil, errclass.Errorf(errclass.Configuration,
			"reading cluster %s: it is not a valid name of a ConfigMap; use lower case letters, digits, hyphens and "+
				"dots, with a letter or digit at both ends", shown(cluster))
	}
	data, err := source.ConfigMap(ctx, cluster)
	if errors.Is(err, ErrNotFound) {
		return nil, errclass.Errorf(errclass.Configuration, "reading cluster %q: %w; create it with: %s", cluster, err,
			createCommand(source, cluster))
	} else if err != nil {
		return nil, fmt.Errorf("reading cluster %q: %w", cluster, err)
	}
	for _, key := range []string{VClusterDocument, FleetDocument} {
		if _, found := data[key]; !found {
			return nil, errclass.Errorf(errclass.Configuration,
				"reading cluster %q: ConfigMap %q in namespace %q has no key %q%s; create it with: %s",
				cluster, cluster, source.Namespace(), key, didYouMeanKey(key, data), createCommand(source, cluster))
		}
	}
	c, err := Parse(cluster, []byte(data[VClusterDocument]), []byte(data[FleetDocument]))
	if err != nil {
		return nil, fmt.Errorf("reading cluster %q: %w", cluster, err)
	}
	c.Namespace = source.Namespace()
	return c, nil
}

// createCommand returns a command that can be pasted into a shell: the name was checked before.
func createCommand(source Source, cluster string) string {
	return fmt.Sprintf("kubectl create configmap %s -n %s --from-file=%s --from-file=%s",
		cluster, source.Namespace(), VClusterDocument, FleetDocument)
}

// didYouMeanKey names a key of the ConfigMap that is near the missing one.
func didYouMeanKey(key string, data map[string]string) string {
	var others []string
	for other := range data {
		if other != VClusterDocument && other != FleetDocument {
			others = append(others, other)
		}
	}
	if near := nearest(key, others); near != "" {
		return fmt.Sprintf(", but one named %s", shown(near))
	}
	return ""
}
