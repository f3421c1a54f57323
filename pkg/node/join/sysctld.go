package join

import (
	"context"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// sysctlCheck is the name by which ignorePreflightErrors ignores files that take a kernel setting back at the next
// boot; kubeadm has no such check.
const sysctlCheck = "Sysctl"

// sysctlDirs are systemd's folders of kernel settings. Of files with one name, that in the first folder is read.
var sysctlDirs = []string{
	"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d",
}

// sysctlFiles returns the files that are read at boot, in their order: by name, whatever their folder.
func sysctlFiles(h *host.Host) []string {
	byName := map[string]string{}
	for _, dir := range sysctlDirs {
		files, _ := filepath.Glob(h.Path(filepath.Join(dir, "*.conf")))
		for _, file := range files {
			name := filepath.Base(file)
			if byName[name] == "" {
				byName[name] = filepath.Join(dir, name)
			}
		}
	}
	var names []string
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = byName[name]
	}
	return names
}

// laterSysctlFiles returns the files that are read after Argosy's: by systemd, and then by ufw when it starts.
func laterSysctlFiles(h *host.Host) []string {
	var later []string
	for _, file := range sysctlFiles(h) {
		if filepath.Base(file) > filepath.Base(layout.SysctlFile) {
			later = append(later, file)
		}
	}
	if ufwEnabled(h) {
		later = append(later, "/etc/ufw/sysctl.conf")
	}
	return later
}

// sysctlAliases are other names of the settings of a node: the kernel sets both.
var sysctlAliases = map[string]string{"net.ipv4.conf.all.forwarding": "net.ipv4.ip_forward"}

// checkSysctls finds files that take a setting of a node back at the next boot, as hardening profiles do: those that
// are read after Argosy's, with another value. The last line of all counts.
func checkSysctls(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	for _, s := range sysctls(j) {
		by, value := "", ""
		for _, file := range laterSysctlFiles(h) {
			if given, found := sysctlIn(h, file, s.key); found {
				by, value = file, given
			}
		}
		if by != "" && value != s.value {
			f.problem("%s sets %s = %s at each boot, after Argosy's %s, and a node needs %s; remove that line, or set "+
				"it so.", by, s.key, value, layout.SysctlFile, s.value)
		}
	}
}

// sysctlIn returns the last value that a file gives a setting, also by an alias or a pattern.
func sysctlIn(h *host.Host, file, key string) (value string, found bool) {
	for line := range strings.Lines(h.ReadLine(file)) {
		line = strings.TrimSpace(line)
		name, given, assigns := strings.Cut(line, "=")
		if !assigns || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		name = sysctlKey(strings.TrimPrefix(strings.TrimSpace(name), "-"))
		if other := sysctlAliases[name]; other != "" {
			name = other
		}
		if matches, err := path.Match(name, key); err == nil && matches {
			value, found = strings.TrimSpace(given), true
		}
	}
	return value, found
}

// sysctlKey returns a setting's name with dots: where the first separator is a slash, slashes separate.
func sysctlKey(name string) string {
	if at := strings.IndexAny(name, "./"); at >= 0 && name[at] == '/' {
		return strings.ReplaceAll(name, "/", ".")
	}
	return name
}
