package join

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// firstSystemd is the first systemd whose systemd-run has --collect, with which operations are started.
const firstSystemd = 236

// checkSystemdVersion refuses a systemd that cannot run operations. One that does not tell its version is tried.
func checkSystemdVersion(ctx context.Context, h *host.Host, _ *spec.Join, f *findings) {
	output, err := h.Runner.Run(ctx, host.Command{Argv: []string{"systemctl", "--version"}})
	fields := strings.Fields(string(output))
	if err != nil || len(fields) < 2 || fields[0] != "systemd" {
		return
	}
	digits := strings.FieldsFunc(fields[1], func(r rune) bool { return r < '0' || r > '9' })
	if len(digits) == 0 {
		return
	}
	if version, err := strconv.Atoi(digits[0]); err == nil && version < firstSystemd {
		f.problem("The machine has systemd %d, and %d or later is needed; upgrade its "+
			"distribution.", version, firstSystemd)
	}
}

// checkMemoryController finds a kernel that does not account for memory, as those of some single-board computers, which
// need a parameter at boot.
func checkMemoryController(_ context.Context, h *host.Host, _ *spec.Join, f *findings) {
	off := false
	if inspect.CgroupVersion(h) == 2 {
		off = !slices.Contains(strings.Fields(h.ReadLine("/sys/fs/cgroup/cgroup.controllers")), "memory")
	} else {
		for line := range strings.Lines(h.ReadLine("/proc/cgroups")) {
			fields := strings.Fields(line)
			off = off || len(fields) == 4 && fields[0] == "memory" && fields[3] == "0"
		}
	}
	if off {
		f.problem("The kernel's memory controller is off, without which the kubelet does not start; add " +
			"cgroup_enable=memory to the kernel's command line (on a Raspberry Pi in /boot/firmware/cmdline.txt) " +
			"and reboot.")
	}
}

// vxlanCheck is the name by which ignorePreflightErrors ignores a kernel without VXLAN; kubeadm has no such check.
const vxlanCheck = "VXLAN"

// checkVXLAN finds a kernel that lacks the module of flannel's tunnels, by the lists of its modules. A machine without
// lists, such as a container, has the modules of another system.
func checkVXLAN(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	release := h.ReadLine("/proc/sys/kernel/osrelease")
	dir := "/lib/modules/" + release
	if j.VXLANPort == 0 || h.Exists("/sys/module/vxlan") || !h.Exists(dir+"/modules.dep") {
		return
	}
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		if strings.Contains(h.ReadLine(dir+"/"+list), "/vxlan.ko") {
			return
		}
	}
	f.problem("The kernel %s has no module vxlan, which flannel needs; install the package with the kernel's further "+
		"modules (Debian and Ubuntu: linux-modules-extra-%s; Red Hat: kernel-modules-extra), or reboot if the "+
		"kernel was "+
		"updated since the machine started.", release, release)
}

// mountsCheck is the name by which ignorePreflightErrors ignores a file system that is not mounted; kubeadm has no such
// check.
const mountsCheck = "Mounts"

// mount is a line of /proc/self/mounts.
type mount struct {
	point   string
	kind    string
	options []string
}

func mounts(h *host.Host) []mount {
	var found []mount
	for line := range strings.Lines(h.ReadLine("/proc/self/mounts")) {
		if fields := strings.Fields(line); len(fields) > 3 {
			found = append(found, mount{unescape(fields[1]), fields[2], strings.Split(fields[3], ",")})
		}
	}
	return found
}

// mountOf returns the mount that a file is on. Of several mounts at one point, the last one is seen.
func mountOf(all []mount, name string) mount {
	var on mount
	for _, m := range all {
		if below(path.Clean(name), m.point) && len(m.point) >= len(on.point) {
			on = m
		}
	}
	return on
}

// unescape decodes the octal escapes of blanks in the kernel's tables.
func unescape(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// below reports whether name is folder or is in it.
func below(name, folder string) bool {
	return name == folder || folder == "/" || strings.HasPrefix(name, folder+"/")
}

// checkBinariesPath finds file systems on which programs cannot be installed, or not be run.
func checkBinariesPath(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	for _, folder := range []struct{ key, path, other string }{
		{"binariesPath", j.BinariesPath, "/opt/bin"},
		{"cniBinariesPath", j.CNIBinariesPath, "/usr/local/lib/cni"},
	} {
		on := mountOf(mounts(h), folder.path)
		switch {
		case slices.Contains(on.options, "ro"):
			f.problem("%s is on %s, which is mounted read-only; set privateNodes.autoUpgrade.%s, or join.%s of the "+
				"machine, to another folder, e.g. %s.", folder.path, on.point, folder.key, folder.key, folder.other)
		case slices.Contains(on.options, "noexec"):
			f.problem("%s is on %s, which is mounted noexec, so that no program runs from there; set "+
				"privateNodes.autoUpgrade.%s, or join.%s of the machine, to another folder, e.g. %s, or mount it "+
				"with exec.", folder.path, on.point, folder.key, folder.key, folder.other)
		}
	}
}

// checkMounts finds folders of a node's data that /etc/fstab or a unit mounts at boot, and that are not mounted: files
// written now would be hidden after the next boot.
func checkMounts(_ context.Context, h *host.Host, _ *spec.Join, f *findings) {
	present := mounts(h)
	if len(present) == 0 {
		return
	}
	mounted := func(point string) bool {
		return slices.ContainsFunc(present, func(m mount) bool { return m.point == point })
	}
	for _, unit := range mountUnits(h) {
		if point := unit.point; holdsNodeData(point) && !mounted(point) {
			f.problem("The unit %s mounts %s at boot, and it is not mounted; what a node writes there would be hidden "+
				"after the next boot. Start the unit, or disable it.", unit.name, point)
		}
	}
	for line := range strings.Lines(h.ReadLine("/etc/fstab")) {
		fields := strings.Fields(line)
		if len(fields) < 4 || strings.HasPrefix(fields[0], "#") ||
			slices.Contains(strings.Split(fields[3], ","), "noauto") {
			continue
		}
		point := filepath.Clean(unescape(fields[1]))
		if holdsNodeData(point) && !mounted(point) {
			f.problem("/etc/fstab mounts %s, and it is not mounted; what a node writes there would be hidden after "+
				"the next boot. Mount it, or remove the line.", point)
		}
	}
}

// holdsNodeData reports whether a file system at point would hold data of a node.
func holdsNodeData(point string) bool {
	return point == "/var" || point == "/var/lib" || slices.ContainsFunc([]string{
		"/var/lib/kubelet", "/var/lib/containerd", spec.Root,
	}, func(folder string) bool { return below(point, folder) })
}

// mountUnit is a unit of the machine's owner that mounts a file system at boot.
type mountUnit struct{ name, point string }

// mountUnits returns those in systemd's first folder, where systemctl enables them.
func mountUnits(h *host.Host) []mountUnit {
	const dir = "/etc/systemd/system"
	files, _ := filepath.Glob(h.Path(dir + "/*.wants/*.mount"))
	required, _ := filepath.Glob(h.Path(dir + "/*.requires/*.mount"))
	var units []mountUnit
	for _, file := range append(files, required...) {
		name := filepath.Base(file)
		for line := range strings.Lines(h.ReadLine(inspect.UnitFile(h, name))) {
			if point, is := strings.CutPrefix(strings.TrimSpace(line), "Where="); is {
				units = append(units, mountUnit{name, filepath.Clean(point)})
			}
		}
	}
	return units
}

// proxyCheck is kubeadm's name of the check of proxies.
const proxyCheck = "HTTPProxy"

// checkProxy finds a proxy in the environment that systemd gives to services, through which kubeadm and the kubelet
// would reach the API server. Preflight itself uses none.
func checkProxy(ctx context.Context, h *host.Host, j *spec.Join, f *findings) {
	output, err := h.Runner.Run(ctx, host.Command{Argv: []string{"systemctl", "show-environment"}})
	server, malformed := url.Parse(j.Server)
	if err != nil || malformed != nil {
		return
	}
	var proxy, exceptions string
	for line := range strings.Lines(string(output)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(strings.TrimPrefix(value, "$"), `"'`)
		switch strings.ToUpper(name) {
		case "HTTPS_PROXY":
			proxy = value
		case "NO_PROXY":
			exceptions = value
		}
	}
	if proxy == "" || withoutProxy(server.Hostname(), exceptions) {
		return
	}
	if shown, err := url.Parse(proxy); err == nil {
		proxy = shown.Redacted()
	}
	f.problem("systemd's environment has the proxy %s, through which kubeadm and the kubelet would reach %s; add "+
		"%s to "+
		"NO_PROXY there (systemctl show-environment lists it, /etc/systemd/system.conf and its folder .conf.d set it).",
		proxy, j.Server, server.Hostname())
}

// withoutProxy reports whether a host is reached without a proxy, by NO_PROXY as Go's programs read it: names with all
// below them, addresses, networks, and "*". The library for it would add a tenth of a megabyte to argosy-node.
func withoutProxy(name, exceptions string) bool {
	ip, err := netip.ParseAddr(name)
	if name == "localhost" || err == nil && ip.IsLoopback() {
		return true
	}
	for entry := range strings.SplitSeq(exceptions, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if host, _, err := net.SplitHostPort(entry); err == nil {
			entry = host
		}
		network, malformed := netip.ParsePrefix(entry)
		domain := strings.TrimPrefix(strings.TrimPrefix(entry, "*"), ".")
		switch {
		case entry == "":
		case entry == "*", entry == name, malformed == nil && err == nil && network.Contains(ip):
			return true
		case err != nil && malformed != nil && strings.HasSuffix(strings.ToLower("."+name), "."+domain):
			return true
		}
	}
	return false
}
