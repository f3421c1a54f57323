package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/secret"
)

// LoginsKey of a Secret of type kubernetes.io/dockerconfigjson holds the logins.
const LoginsKey = ".dockerconfigjson"

// logins are those of a Secret, by the registry's host. Printing them shows nothing.
type logins struct{ byHost map[string]authn.AuthConfig }

func (logins) String() string   { return "[redacted]" }
func (logins) GoString() string { return "[redacted]" }

var _ authn.Keychain = logins{}

// parseLogins reads what `docker login` writes and a Secret for pulling images holds.
func parseLogins(content secret.Value) (logins, error) {
	var config struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal([]byte(content.Reveal()), &config); err != nil {
		// What it says of the place may show the content.
		return logins{}, fault.As(fault.Configuration, fmt.Errorf("reading the logins in key %s: it is not the JSON that `docker login` writes", LoginsKey))
	}
	found := logins{byHost: map[string]authn.AuthConfig{}}
	for registry, login := range config.Auths {
		host, err := hostOf(registry)
		if err != nil {
			return logins{}, fault.As(fault.Configuration, fmt.Errorf("reading the logins in key %s: registry %q: %w", LoginsKey, registry, err))
		}
		found.byHost[host] = login
	}
	return found, nil
}

// hostOf is the registry that an entry is for: "https://index.docker.io/v1/", "registry.example.com:5000", "docker.io".
func hostOf(registry string) (string, error) {
	if !strings.Contains(registry, "://") {
		registry = "https://" + registry
	}
	parsed, err := url.Parse(registry)
	if err != nil || parsed.Host == "" {
		return "", errors.New("it is no host")
	}
	if parsed.Host == "docker.io" || parsed.Host == "registry-1.docker.io" {
		return name.DefaultRegistry, nil
	}
	return parsed.Host, nil
}

// Resolve gives the login at a registry; nobody's where there is none.
func (l logins) Resolve(resource authn.Resource) (authn.Authenticator, error) {
	login, found := l.byHost[resource.RegistryStr()]
	if !found {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(login), nil
}
