package join

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// otherRuntimes are parts of containerd's present configuration that stay in the one that Argosy writes: runtimes
// beside runc, such as those that the NVIDIA container toolkit adds, and how devices are injected.
type otherRuntimes struct {
	// runtimes by name, as the CRI plugin has them.
	runtimes table
	// byDefault is the runtime of pods without a class; empty for runc.
	byDefault string
	// devices are enable_cdi and cdi_spec_dirs, as far as they are set.
	devices table
}

// criConfig is the part of containerd's configuration with runtimes, in either version.
type criConfig struct {
	Containerd struct {
		Default  string           `toml:"default_runtime_name"`
		Runtimes map[string]table `toml:"runtimes"`
	} `toml:"containerd"`
	EnableCDI   *bool    `toml:"enable_cdi"`
	CDISpecDirs []string `toml:"cdi_spec_dirs"`
}

// readCRIConfigs returns the sections of a configuration that have runtimes. A file that containerd could not read
// either has none.
func readCRIConfigs(h *host.Host, name string) []criConfig {
	data, err := h.ReadFile(name)
	if err != nil {
		return nil
	}
	var file struct {
		Plugins struct {
			V2 criConfig `toml:"io.containerd.grpc.v1.cri"`
			V3 criConfig `toml:"io.containerd.cri.v1.runtime"`
		} `toml:"plugins"`
	}
	if toml.Unmarshal(data, &file) != nil {
		return nil
	}
	return []criConfig{file.Plugins.V2, file.Plugins.V3}
}

// readOtherRuntimes returns those of containerd's present configuration, which another installer may have written, or a
// toolkit into Argosy's file. Those in drop-ins are merged by containerd itself.
func readOtherRuntimes(h *host.Host, driver string) otherRuntimes {
	kept := otherRuntimes{runtimes: table{}, devices: table{}}
	for _, section := range readCRIConfigs(h, layout.ContainerdConfig) {
		for name, runtime := range section.Containerd.Runtimes {
			if name != defaultRuntime && runtime["runtime_type"] != nil {
				kept.runtimes[name] = portable(runtime, driver)
			}
		}
		if section.Containerd.Default != "" {
			kept.byDefault = section.Containerd.Default
		}
		if section.EnableCDI != nil {
			kept.devices["enable_cdi"] = *section.EnableCDI
		}
		if section.CDISpecDirs != nil {
			kept.devices["cdi_spec_dirs"] = section.CDISpecDirs
		}
	}
	if kept.runtimes[kept.byDefault] == nil {
		kept.byDefault = ""
	}
	return kept
}

// runcShim is the runtime type of runc and of programs that stand in for it.
const runcShim = "io.containerd.runc.v2"

// portable returns a runtime without keys that containerd 2 does not have, and with the kubelet's cgroup driver: with
// another one no pod of that runtime starts.
func portable(runtime table, driver string) table {
	result := maps.Clone(runtime)
	for _, old := range []string{"runtime_engine", "runtime_root", "sandbox_mode"} {
		delete(result, old)
	}
	if result["runtime_type"] == runcShim {
		options, _ := result["options"].(table)
		options = maps.Clone(options)
		if options == nil {
			options = table{}
		}
		options["SystemdCgroup"] = driver == "systemd"
		result["options"] = options
	}
	return result
}

// into adds the runtimes and settings to the section that has them.
func (o otherRuntimes) into(section table) table {
	runtimes := section["containerd"].(table)["runtimes"].(table)
	maps.Copy(runtimes, o.runtimes)
	maps.Copy(section, o.devices)
	if o.byDefault != "" {
		section["containerd"].(table)["default_runtime_name"] = o.byDefault
	}
	return section
}

// checkOtherRuntimes tells of runtimes beside runc, and where they are set up.
func checkOtherRuntimes(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	if j.Containerd.External {
		return
	}
	files, _ := filepath.Glob(h.Path(layout.ContainerdDropIns))
	for i, name := range files {
		files[i] = strings.TrimPrefix(name, h.Root)
	}
	for _, name := range append([]string{layout.ContainerdConfig}, files...) {
		var found []string
		byDefault := ""
		for _, section := range readCRIConfigs(h, name) {
			for runtime := range section.Containerd.Runtimes {
				if runtime != defaultRuntime {
					found = append(found, runtime)
				}
			}
			if section.Containerd.Default != "" && section.Containerd.Default != defaultRuntime {
				byDefault = fmt.Sprintf(", and %s is the default", section.Containerd.Default)
			}
		}
		if len(found) > 0 {
			slices.Sort(found)
			f.remark("%s has the runtimes %s%s, which stay.", name, strings.Join(slices.Compact(found), ", "+
				""), byDefault)
		}
	}
	if devices, _ := filepath.Glob(h.Path("/proc/driver/nvidia/gpus/*")); len(devices) > 0 {
		f.remark("The machine's NVIDIA driver has %d GPUs.", len(devices))
	}
}
