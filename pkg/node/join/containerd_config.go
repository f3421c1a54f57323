package join

import (
	"fmt"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/imageref"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/registry"
	"argosy.dev/argosy/pkg/node/spec"
)

// containerdSettings are the values of containerd's configuration, which is written for the containerd of the bundle:
// version 3 for 2.x, version 2 for 1.x.
type containerdSettings struct {
	join    *spec.Join
	version string
	pause   string
	logins  map[string]spec.RegistryLogin
	others  otherRuntimes
}

type table = map[string]any

// The sections of containerd's configuration.
const (
	// criSection is the one of containerd 1.x, imagesSection and runtimeSection those of 2.x.
	criSection     = "io.containerd.grpc.v1.cri"
	imagesSection  = "io.containerd.cri.v1.images"
	runtimeSection = "io.containerd.cri.v1.runtime"
)

// configVersion returns the version of the configuration file.
func (s containerdSettings) configVersion() int {
	if major, _ := majorMinor(s.version); major >= 2 {
		return 3
	}
	return 2
}

// render returns the configuration, without the logins.
func (s containerdSettings) render() ([]byte, error) {
	imports := []string{layout.ContainerdDropIns}
	if len(s.logins) > 0 {
		// The files of the machine's owner come last, so that they override.
		imports = []string{layout.RegistryLogins, layout.ContainerdDropIns}
	}
	plugins := s.pluginsV2()
	if s.configVersion() == 3 {
		plugins = s.pluginsV3()
	}
	body, err := toml.Marshal(table{"imports": imports, "version": s.configVersion(), "plugins": plugins})
	if err != nil {
		return nil, fmt.Errorf("rendering containerd's configuration: %w", err)
	}
	head := inspect.Mark + " and overwritten by it: put what you need into " + filepath.Dir(layout.ContainerdDropIns) +
		".\n"
	return append([]byte(head), body...), nil
}

func (s containerdSettings) pluginsV3() table {
	_, minor := majorMinor(s.version)
	cni := table{"conf_dir": layout.CNIConf, "bin_dirs": []string{s.join.CNIBinariesPath}}
	if minor < 1 {
		// 2.0 knows one folder only.
		cni = table{"conf_dir": layout.CNIConf, "bin_dir": s.join.CNIBinariesPath}
	}
	return table{
		imagesSection: table{
			"pinned_images": table{"sandbox": s.pause},
			"registry":      table{"config_path": registry.Folder(s.join.Containerd.Registry)},
		},
		runtimeSection: s.others.into(table{
			"cni":        cni,
			"containerd": table{"default_runtime_name": defaultRuntime, "runtimes": runtimes(s.join)},
		}),
	}
}

func (s containerdSettings) pluginsV2() table {
	return table{
		criSection: s.others.into(table{
			"sandbox_image":             s.pause,
			"enable_unprivileged_ports": true,
			"enable_unprivileged_icmp":  true,
			"cni":                       table{"conf_dir": layout.CNIConf, "bin_dir": s.join.CNIBinariesPath},
			"containerd":                table{"default_runtime_name": defaultRuntime, "runtimes": runtimes(s.join)},
			"registry":                  table{"config_path": registry.Folder(s.join.Containerd.Registry)},
		}),
	}
}

// defaultRuntime is that of pods without a class, unless the machine's owner set another.
const defaultRuntime = "runc"

func runtimes(j *spec.Join) table {
	return table{defaultRuntime: table{
		"runtime_type": runcShim,
		"options": table{
			"BinaryName":    program(j, "runc"),
			"SystemdCgroup": j.Containerd.CgroupDriver == "systemd",
		},
	}}
}

// renderLogins returns the part of the configuration that has logins. containerd still reads them from its
// configuration, since hosts.toml has no key for them; 2.x logs a warning for that at its start.
func (s containerdSettings) renderLogins() ([]byte, error) {
	configs := table{}
	for host, login := range s.logins {
		configs[host] = table{"auth": authOf(login)}
		if host == imageref.DockerHub {
			// Images have the one name, the server that the login is for has the other.
			configs[registry.DockerHubServer] = configs[host]
		}
	}
	plugins := table{imagesSection: table{"registry": table{"configs": configs}}}
	if s.configVersion() == 2 {
		// containerd 1.x puts an imported section in the place of the whole one before.
		plugins = s.pluginsV2()
		plugins[criSection].(table)["registry"].(table)["configs"] = configs
	}
	body, err := toml.Marshal(table{"version": s.configVersion(), "plugins": plugins})
	if err != nil {
		// Its text may quote a secret.
		return nil, fmt.Errorf("rendering the logins at %s: they cannot be written as TOML",
			count.Of(len(s.logins), "registry"))
	}
	return append([]byte(loginsHeader), body...), nil
}

// authOf returns the keys of a login that are set, by containerd's names.
func authOf(login spec.RegistryLogin) table {
	auth := table{}
	for key, value := range map[string]string{
		"username": login.Username, "password": login.Password, "identitytoken": login.IdentityToken,
		"auth": login.Auth,
	} {
		if value != "" {
			auth[key] = value
		}
	}
	return auth
}
