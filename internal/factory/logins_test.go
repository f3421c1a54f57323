package factory

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/secret"
)

// oneSecret is a source of a single Secret.
type oneSecret map[string]secret.Value

func (oneSecret) Namespace() string { return "team-a" }

func (oneSecret) ConfigMap(context.Context, string) (map[string]string, error) {
	return nil, config.ErrNotFound
}

func (s oneSecret) Secret(_ context.Context, name string) (map[string]secret.Value, error) {
	if name != "logins" {
		return nil, config.ErrNotFound
	}
	return s, nil
}

func TestLoginsComeFromTheSecretThatTheFleetNames(t *testing.T) {
	documents := config.Defaults()
	none, err := registryLogins(t.Context(), oneSecret{}, &documents)
	assert.NilError(t, err)
	assert.Equal(t, len(none), 0)

	documents.Name, documents.Fleet.Registries.Secret = "team-a", "logins"
	logins, err := registryLogins(t.Context(),
		oneSecret{".dockerconfigjson": secret.New(`{"auths": {"quay.io": {"auth": "dXNlcjpwYXNz"}}}`)}, &documents)
	assert.NilError(t, err)
	assert.DeepEqual(t, logins, map[string]spec.RegistryLogin{"quay.io": {Auth: "dXNlcjpwYXNz"}})

	_, err = registryLogins(t.Context(), oneSecret{"config.json": secret.New("s3cret")}, &documents)
	assert.ErrorContains(t, err, `Secret "logins" in namespace "team-a" has no key ".dockerconfigjson"`)
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	documents.Fleet.Registries.Secret = "forgotten"
	_, err = registryLogins(t.Context(), oneSecret{}, &documents)
	assert.ErrorIs(t, err, config.ErrNotFound)
}
