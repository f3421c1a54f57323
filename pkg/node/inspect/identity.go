package inspect

import (
	"cmp"
	"encoding/hex"
	"net"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// MachineID returns systemd's id of the machine, from the files that the kubelet takes it from; "" for none.
func MachineID(h *host.Host) string {
	return cmp.Or(h.ReadLine("/etc/machine-id"), h.ReadLine("/var/lib/dbus/machine-id"))
}

// productUUID returns the firmware's id of the machine in lower case; "" for none. Firmware that was not given one has
// zeros or a placeholder.
func productUUID(h *host.Host) string {
	id := strings.ToLower(h.ReadLine("/sys/class/dmi/id/product_uuid"))
	digits, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil || len(digits) != 16 || len(slices.Compact(digits[1:])) == 1 {
		return ""
	}
	return id
}

// selinux returns the mode of SELinux; "" without it.
func selinux(h *host.Host) string {
	switch h.ReadLine("/sys/fs/selinux/enforce") {
	case "1":
		return "enforcing"
	case "0":
		return "permissive"
	}
	return ""
}

// Interfaces returns the machine's interfaces that have addresses, without loopback, links to pods and containers, and
// the bridges and tunnels of their networks. Below another root there are none.
func Interfaces(h *host.Host) []spec.Interface {
	if h.Root != "" {
		return nil
	}
	all, _ := net.Interfaces()
	default4, default6 := defaultRoutes(h)
	var found []spec.Interface
	for _, one := range all {
		addresses, _ := one.Addrs()
		found = appendInterface(found, one, addresses, default4, default6)
	}
	return found
}

// podLinks begin the names of links that networks of pods and containers make.
var podLinks = []string{"cni", "veth", "flannel", "cali", "cilium", "lxc", "kube-", "docker", "br-", "podman", "virbr"}

func appendInterface(found []spec.Interface, one net.Interface, addresses []net.Addr,
	default4, default6 []string,
) []spec.Interface {
	ofPods := slices.ContainsFunc(podLinks, func(start string) bool { return strings.HasPrefix(one.Name, start) })
	if one.Flags&net.FlagLoopback != 0 || ofPods {
		return found
	}
	result := spec.Interface{
		Name: one.Name, MAC: one.HardwareAddr.String(),
		Default4: slices.Contains(default4, one.Name), Default6: slices.Contains(default6, one.Name),
	}
	for _, address := range addresses {
		if ip, ok := address.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			result.Addresses = append(result.Addresses, ip.IP.String())
		}
	}
	if len(result.Addresses) == 0 {
		return found
	}
	return append(found, result)
}

// defaultRoutes returns the interfaces through which default routes lead, by the kernel's tables of routes. An
// unreachable default route of IPv6 leads through lo.
func defaultRoutes(h *host.Host) (ipv4, ipv6 []string) {
	for line := range strings.Lines(h.ReadLine("/proc/net/route")) {
		if fields := strings.Fields(line); len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" {
			ipv4 = append(ipv4, fields[0])
		}
	}
	for line := range strings.Lines(h.ReadLine("/proc/net/ipv6_route")) {
		fields := strings.Fields(line)
		if len(fields) > 9 && strings.Trim(fields[0], "0") == "" && fields[1] == "00" && fields[9] != "lo" {
			ipv6 = append(ipv6, fields[9])
		}
	}
	return ipv4, ipv6
}
