package join

import (
	"errors"

	"github.com/pelletier/go-toml/v2"

	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/registry"
	"argosy.dev/argosy/pkg/node/spec"
)

// An upgrade keeps the file with the logins of registries without them, since no secret is kept
// for long. A rollback needs the file again, in the form that the earlier containerd reads and whose configuration
// imports it.

// WithoutLogins returns the content of layout.RegistryLogins without its logins.
func WithoutLogins(content []byte) ([]byte, error) {
	return eachLogin(content, func(string, table) table { return table{} })
}

// WithLogins returns the content that WithoutLogins took the logins out of, with them. Each is that of current, the
// file as it is now, or of the operation's secrets, or the one that kept has itself, as older versions left it; a
// registry of which there is none is left out.
func WithLogins(kept, current []byte, secrets map[string]spec.RegistryLogin) ([]byte, error) {
	now, err := loginsIn(current)
	if err != nil {
		now = nil // it cannot be read, so it is written anew
	}
	return eachLogin(kept, func(host string, before table) table {
		if auth := now[host]; len(auth) > 0 {
			return auth
		}
		login, known := secrets[host]
		if !known && host == registry.DockerHubServer {
			login, known = secrets[imageref.DockerHub]
		}
		if known {
			return authOf(login)
		}
		if len(before) > 0 {
			return before
		}
		return nil
	})
}

var errLogins = errors.New("reading the file with logins of registries: it is not as Argosy writes it")

// eachLogin returns content with the login of each registry replaced; nil removes the registry.
func eachLogin(content []byte, replace func(host string, auth table) table) ([]byte, error) {
	var whole table
	if err := toml.Unmarshal(content, &whole); err != nil {
		return nil, errLogins // the cause may quote a secret
	}
	for _, configs := range loginTables(whole) {
		for host, one := range configs {
			auth, _ := one.(table)["auth"].(table)
			if auth = replace(host, auth); auth == nil {
				delete(configs, host)
			} else {
				configs[host] = table{"auth": auth}
			}
		}
	}
	body, err := toml.Marshal(whole)
	if err != nil {
		return nil, errLogins
	}
	return append([]byte(loginsHeader), body...), nil
}

// loginsIn returns the logins in a file, by registry.
func loginsIn(content []byte) (map[string]table, error) {
	found := map[string]table{}
	_, err := eachLogin(content, func(host string, auth table) table {
		found[host] = auth
		return auth
	})
	return found, err
}

// loginTables returns the tables of registries in either version of containerd's configuration.
func loginTables(whole table) []table {
	var found []table
	plugins, _ := whole["plugins"].(table)
	for _, section := range []string{criSection, imagesSection} {
		plugin, _ := plugins[section].(table)
		settings, _ := plugin["registry"].(table)
		configs, _ := settings["configs"].(table)
		for host, one := range configs {
			if _, is := one.(table); !is {
				delete(configs, host)
			}
		}
		if configs != nil {
			found = append(found, configs)
		}
	}
	return found
}

// loginsHeader is the first line of layout.RegistryLogins.
const loginsHeader = inspect.Mark + ": logins at image registries.\n"
