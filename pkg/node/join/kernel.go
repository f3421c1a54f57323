package join

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// bridgeCheck is kubeadm's name of a check that is made here as well; ignorePreflightErrors applies to both.
const bridgeCheck = "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables"

// module is a part of the kernel that a node needs. Its presence shows in the files that it adds, since it may be built
// in, and in a container neither /sys/module nor /lib/modules need to exist.
type module struct {
	name    string
	present func(*host.Host) bool
}

var modules = []module{
	{"overlay", func(h *host.Host) bool {
		return slices.Contains(strings.Fields(h.ReadLine("/proc/filesystems")), "overlay")
	}},
	{"br_netfilter", func(h *host.Host) bool { return h.Exists("/proc/sys/net/bridge/bridge-nf-call-iptables") }},
	{"nf_conntrack", func(h *host.Host) bool { return h.Exists("/proc/sys/net/netfilter/nf_conntrack_max") }},
}

// forwarding6 has the kernel route IPv6 packets between its interfaces.
const forwarding6 = "net.ipv6.conf.all.forwarding"

// kernelSetting is a file in /proc/sys with its value.
type kernelSetting struct{ key, value string }

// sysctls returns the kernel settings that the node needs.
func sysctls(j *spec.Join) []kernelSetting {
	wanted := []kernelSetting{
		{"net.bridge.bridge-nf-call-ip6tables", "1"},
		{"net.bridge.bridge-nf-call-iptables", "1"},
		{"net.ipv4.ip_forward", "1"},
	}
	if podsHaveIPv6(j) {
		wanted = append(wanted, kernelSetting{forwarding6, "1"})
	}
	return wanted
}

func checkKernel(_ context.Context, c *node.Context) (bool, string, error) {
	var wanted []string
	for _, m := range modules {
		if !m.present(c.Host) && !missingModuleIgnored(c, m.name) {
			wanted = append(wanted, "module "+m.name)
			c.AddChanges(spec.Change{What: "kernel module " + m.name, Effect: spec.NoRestart})
		}
	}
	for _, s := range sysctls(c.Operation.Join) {
		if have := sysctl(c.Host, s.key); have != s.value && !missingModuleIgnored(c, moduleForSysctl(s.key)) {
			wanted = append(wanted, s.key+"="+s.value)
			c.AddChanges(spec.Change{
				What: "sysctl " + s.key, Diff: node.Diff(s.key, have+"\n", s.value+"\n"),
				Effect: spec.NoRestart,
			})
		}
	}
	for _, f := range kernelFiles(c.Host, c.Operation.Join) {
		if !c.Host.Holds(f.name, f.content) {
			wanted = append(wanted, f.name)
			c.AddChanges(node.FileChange(c.Host, f.name, f.content, spec.NoRestart))
		}
	}
	if len(wanted) > 0 {
		return false, "wants " + strings.Join(wanted, ", "), nil
	}
	return true, "modules and sysctls are set, also for the next boot", nil
}

// applyKernel loads the modules and sets the sysctls. A node without br_netfilter looks healthy and then loses packets
// to Services, so a kernel that cannot load it is an error. With bridgeCheck in ignorePreflightErrors, for networks
// that do not need it, the error is a remark in the detail.
func applyKernel(ctx context.Context, c *node.Context) (string, error) {
	var loaded, remarks []string
	var errs []error
	for _, m := range modules {
		if m.present(c.Host) {
			continue
		}
		_, err := c.Host.Runner.Run(ctx, host.Command{Argv: []string{"modprobe", m.name}, Log: c.Log})
		switch {
		case m.present(c.Host):
			loaded = append(loaded, m.name)
		case missingModuleIgnored(c, m.name):
			remarks = append(remarks, "without "+m.name+", as ignorePreflightErrors allows")
		default:
			errs = append(errs, missingModule(c.Host, m.name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	edited, err := take(c.Host, kernelFiles(c.Host, c.Operation.Join)...)
	if err != nil {
		return "", err
	}
	for _, f := range kernelFiles(c.Host, c.Operation.Join) {
		if _, err := c.Host.WriteFile(f.name, f.content, f.mode()); err != nil {
			return "", err
		}
	}
	for _, s := range sysctls(c.Operation.Join) {
		if missingModuleIgnored(c, moduleForSysctl(s.key)) && sysctl(c.Host, s.key) == "" {
			continue
		}
		if err := setSysctl(c.Host, s.key, s.value); err != nil {
			return "", err
		}
	}
	detail := "sysctls set"
	if len(loaded) > 0 {
		detail = "loaded " + strings.Join(loaded, ", ") + "; " + detail
	}
	return strings.Join(append([]string{detail}, remarks...), "; ") + keptAs(edited), nil
}

// kernelFiles returns the files with modules and sysctls for the next boot.
func kernelFiles(h *host.Host, j *spec.Join) []file {
	return []file{
		{name: layout.ModulesFile, content: renderModules(h)},
		{name: layout.SysctlFile, content: renderSysctls(j)},
	}
}

func missingModule(h *host.Host, name string, err error) error {
	release := h.ReadLine("/proc/sys/kernel/osrelease")
	failure := &node.Failure{
		Err: errclass.Errorf(errclass.Permanent, "loading kernel module %q: the kernel %s does not have it", name,
			release),
		Hint: fmt.Sprintf("install the package with the kernel's further modules (Debian and Ubuntu: "+
			"linux-modules-extra-%s; "+
			"Red Hat: kernel-modules-extra), or reboot if the kernel was updated since the machine started", release),
	}
	if err != nil {
		failure.Err = errclass.Errorf(errclass.Permanent, "loading kernel module %q: %w", name, err)
	}
	return failure
}

// missingModuleIgnored reports whether the operation goes on without the module.
func missingModuleIgnored(c *node.Context, module string) bool {
	return module == "br_netfilter" && ignored(c.Operation.Join, bridgeCheck)
}

func moduleForSysctl(key string) string {
	if strings.HasPrefix(key, "net.bridge.") {
		return "br_netfilter"
	}
	return ""
}

func sysctlPath(key string) string { return "/proc/sys/" + strings.ReplaceAll(key, ".", "/") }

func sysctl(h *host.Host, key string) string { return h.ReadLine(sysctlPath(key)) }

// setSysctl writes one value, and only where it differs: in a container some are read-only but right.
func setSysctl(h *host.Host, key, value string) error {
	if sysctl(h, key) == value {
		return nil
	}
	if err := h.Overwrite(sysctlPath(key), value+"\n"); err != nil {
		return fmt.Errorf("setting sysctl %q to %q: %w", key, value, err)
	}
	return nil
}

// renderModules returns the list of modules for the next boot. It is empty where the kernel has no loadable modules:
// systemd-modules-load would fail.
func renderModules(h *host.Host) []byte {
	var b strings.Builder
	b.WriteString(inspect.Mark + ": kernel modules of a Kubernetes node.\n")
	if h.Exists("/lib/modules/" + h.ReadLine("/proc/sys/kernel/osrelease")) {
		for _, m := range modules {
			b.WriteString(m.name + "\n")
		}
	}
	return []byte(b.String())
}

// renderSysctls returns the settings for the next boot. A leading dash makes systemd-sysctl skip those that the kernel
// does not have.
func renderSysctls(j *spec.Join) []byte {
	var b strings.Builder
	b.WriteString(inspect.Mark + ": kernel settings of a Kubernetes node.\n")
	for _, s := range sysctls(j) {
		b.WriteString("-" + s.key + " = " + s.value + "\n")
	}
	return []byte(b.String())
}
