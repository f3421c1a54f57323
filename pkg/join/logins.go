package join

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// logins returns the logins of a machine's container runtime: those of the documents, and for other registries those of
// the Secret. A runtime that is not Argosy's gets none.
func (j *Joiner) logins(machine config.Machine) (map[string]spec.RegistryLogin, error) {
	settings := j.Cluster.Settings(machine).Containerd
	if !settings.Enabled {
		return nil, nil
	}
	logins := maps.Clone(j.Logins)
	if logins == nil {
		logins = map[string]spec.RegistryLogin{}
	}
	for _, name := range slices.Sorted(maps.Keys(settings.Registry.Auth)) {
		auth := settings.Registry.Auth[name]
		login := spec.RegistryLogin{
			Username: auth.Username, Password: auth.Password.Reveal(), IdentityToken: auth.IdentityToken.Reveal(),
			Auth: auth.Auth.Reveal(),
		}
		host, err := registryHost(name)
		if err == nil {
			err = checkLogin(login)
		}
		if err != nil {
			return nil, errclass.Errorf(errclass.Configuration,
				"reading the login at registry %q of privateNodes.joinNode.containerd.registry.auth: %w", name, err)
		}
		logins[host] = login
	}
	return logins, nil
}

// ReadLogins reads the content of a Secret of type kubernetes.io/dockerconfigjson, which is that of Docker's
// config.json, and returns its logins by the registry's host. Containerd tells logins apart by host alone: where
// several keys of the content are of one host, that of the shortest path holds, which is the most general. An error
// never quotes the content.
func ReadLogins(content []byte) (map[string]spec.RegistryLogin, error) {
	var file struct {
		Auths map[string]struct {
			Username      string `json:"username"`
			Password      string `json:"password"`
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
	}
	if err := json.Unmarshal(content, &file); err != nil || file.Auths == nil {
		return nil, errclass.With(errclass.Configuration,
			errors.New(`it is not of the form {"auths": {"registry.example.com": {"auth": …}}}`))
	}
	keys := slices.SortedFunc(maps.Keys(file.Auths), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(loginPath(b)), len(loginPath(a))), strings.Compare(a, b))
	})
	logins := map[string]spec.RegistryLogin{}
	for _, key := range keys {
		entry := file.Auths[key]
		login := spec.RegistryLogin{
			Username: entry.Username, Password: entry.Password,
			IdentityToken: entry.IdentityToken, Auth: entry.Auth,
		}
		if login == (spec.RegistryLogin{}) {
			continue // as docker logout may leave it
		}
		host, err := registryHost(key)
		if err == nil {
			err = checkLogin(login)
		}
		if err != nil {
			return nil, errclass.Errorf(errclass.Configuration, "the login at registry %q: %w", key, err)
		}
		logins[host] = login
	}
	return logins, nil
}

// registryHost is the host of a registry as images name it, out of the ways in which logins name registries:
// "registry.example.com:5000", "https://registry.example.com/v2/", "https://index.docker.io/v1/". In Docker's own files
// the last one stands for Docker Hub.
func registryHost(name string) (string, error) {
	host := strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	switch {
	case strings.Contains(host, "*"):
		return "", errors.New("containerd knows no patterns; name each registry")
	case host == "" || strings.ContainsAny(host, "@?#\\\"' \t\r\n") || !printable(host):
		return "", errors.New("it is not the host of a registry; write e.g. registry.example.com:5000")
	case host == "index.docker.io" || host == "registry-1.docker.io":
		return imageref.DockerHub, nil
	}
	return host, nil
}

// loginPath returns a login's name without the host; the version of the registry's API does not count.
func loginPath(name string) string {
	_, bare, found := strings.Cut(name, "://")
	if !found {
		bare = name
	}
	_, path, _ := strings.Cut(bare, "/")
	if path = strings.Trim(path, "/"); path == "v1" || path == "v2" {
		return ""
	}
	return path
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// checkLogin refuses a login that containerd could not use, and quotes nothing of it.
func checkLogin(login spec.RegistryLogin) error {
	if login.Username != "" || login.IdentityToken != "" {
		return nil
	}
	if login.Auth == "" {
		return errors.New("it has neither username, identityToken nor auth")
	}
	plain, err := base64.StdEncoding.DecodeString(login.Auth)
	if err != nil || !strings.Contains(string(plain), ":") {
		return errors.New("its auth is not user:password in base64")
	}
	return nil
}
