package images

import (
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/node/spec"
)

// logins are logins at registries by their hosts, as images name them. Nothing else gets them.
type logins map[string]spec.RegistryLogin

var _ authn.Keychain = logins{}

// Resolve returns the login at a registry; an anonymous one where there is none.
func (l logins) Resolve(resource authn.Resource) (authn.Authenticator, error) {
	host := resource.RegistryStr()
	if host == name.DefaultRegistry {
		host = imageref.DockerHub
	}
	login, found := l[host]
	if !found {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: login.Username, Password: login.Password,
		IdentityToken: login.IdentityToken, Auth: login.Auth,
	}), nil
}
