// Package registry has the paths and contents of containerd's hosts.toml for image registries. It writes nothing
// itself.
package registry

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	// hostsFile is the file that containerd reads in a registry's folder.
	hostsFile = "hosts.toml"
	// anyRegistry is the folder for registries that have none of their own.
	anyRegistry = "_default"
	// DockerHubServer is the host that serves Docker Hub's images.
	DockerHubServer = "registry-1.docker.io"
)

// Folder returns the folder with the registries' folders.
func Folder(r spec.Registry) string {
	if r.ConfigPath != "" {
		return r.ConfigPath
	}
	return layout.RegistriesDir
}

// hostsPath returns the path of a registry's hosts.toml, given the registry's host as images name it.
func hostsPath(r spec.Registry, registry string) string {
	return filepath.Join(Folder(r), folderName(registry), hostsFile)
}

// folderName returns the first name by which containerd looks for a registry's folder: it has no colon.
func folderName(registry string) string {
	if colon := strings.LastIndex(registry, ":"); colon > 0 {
		return registry[:colon] + "_" + registry[colon+1:] + "_"
	}
	return registry
}

// Files returns all wanted hosts.toml, by their paths.
func Files(r spec.Registry) map[string][]byte {
	files := map[string][]byte{}
	for registry, mirror := range r.Mirrors {
		files[hostsPath(r, registry)] = render(registry, mirror)
	}
	return files
}

// Authorities returns the certificate authorities that the wanted files name, each once.
func Authorities(r spec.Registry) []string {
	named := map[string]bool{}
	for _, mirror := range r.Mirrors {
		for _, one := range append([]spec.MirrorHost{mirror.MirrorHost}, mirror.Hosts...) {
			for _, file := range one.CACert {
				named[file] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(named))
}

// Folders returns the folders in which Argosy may have written registries' settings: containerd's own, and the one that
// its configuration names, where Argosy wrote that.
func Folders(h *host.Host) []string {
	folders := []string{layout.RegistriesDir}
	if !inspect.Marked(h, layout.ContainerdConfig) {
		return folders
	}
	var config struct {
		Plugins map[string]struct {
			Registry struct {
				ConfigPath string `toml:"config_path"`
			} `toml:"registry"`
		} `toml:"plugins"`
	}
	data, err := h.ReadFile(layout.ContainerdConfig)
	if err != nil || toml.Unmarshal(data, &config) != nil {
		return folders
	}
	for _, plugin := range config.Plugins {
		if path := plugin.Registry.ConfigPath; layout.PlainPath(path) && !slices.Contains(folders, path) {
			folders = append(folders, path)
		}
	}
	return folders
}

// Written returns the hosts.toml in these folders that Argosy wrote, in their order.
func Written(h *host.Host, folders ...string) []string {
	var found []string
	for _, folder := range folders {
		matches, _ := filepath.Glob(h.Path(filepath.Join(folder, "*", hostsFile)))
		for _, match := range matches {
			if name := strings.TrimPrefix(match, h.Root); inspect.Marked(h, name) {
				found = append(found, name)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// registryForm is a registry's host as images name it, or the folder for all others.
var registryForm = regexp.MustCompile(`^(_default|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?)$`)

// Check returns the values that cannot be used, each as a sentence.
func Check(r spec.Registry) []string {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if r.ConfigPath != "" && !layout.PlainPath(r.ConfigPath) {
		bad("The registries' configPath %q is not a plain absolute path; write one such as %s.", r.ConfigPath,
			layout.RegistriesDir)
	}
	for _, registry := range slices.Sorted(maps.Keys(r.Mirrors)) {
		if !registryForm.MatchString(registry) {
			bad("The registry %q is not a host as images name it; write e.g. docker.io or registry.example.com:5000.",
				registry)
		}
		mirror := r.Mirrors[registry]
		checkHost(fmt.Sprintf("The registry %s", registry), mirror.MirrorHost, bad)
		seen := map[string]bool{}
		for i, one := range mirror.Hosts {
			which := fmt.Sprintf("Host %d of the registry %s", i+1, registry)
			at := address(one.Server, one.SkipVerify)
			switch {
			case one.Server == "":
				bad("%s has no server; write its address.", which)
			case seen[at]:
				bad("%s has the server %q of one before it; remove one of them.", which, one.Server)
			}
			seen[at] = true
			checkHost(which, one, bad)
		}
	}
	return problems
}

// capabilities are those that every containerd since 1.7 knows.
var capabilities = []string{"pull", "resolve", "push"}

func checkHost(which string, one spec.MirrorHost, bad func(string, ...any)) {
	if one.Server != "" {
		parsed, err := url.Parse(address(one.Server, one.SkipVerify))
		if err != nil || parsed.Host == "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
			bad("%s has the server %q, which is not of the form https://host:port.", which, one.Server)
		}
	}
	for _, name := range one.Capabilities {
		if !slices.Contains(capabilities, name) {
			bad("%s has the capability %q; there are %s.", which, name, strings.Join(capabilities, ", "))
		}
	}
	for _, file := range one.CACert {
		if !filepath.IsAbs(file) || strings.ContainsFunc(file, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			bad("%s has the certificate authority %q, which is not an absolute path.", which, file)
		}
	}
}
