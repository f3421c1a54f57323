package join

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// nodeIPArg is the kubelet's argument that names the node's address. flannel takes the same address for its tunnels.
const nodeIPArg = "node-ip"

// nodeIP returns the kubelet's node-ip, where the documents set none, and a remark; either may be empty. Without it the
// kubelet takes the address of the interface with the default route:
//
//	machine's address is                      cluster   node-ip      remark
//	on an interface without a default route   IPv4      the address  the node has that address
//	on the default route's interface          IPv4      none         none
//	on none of the machine's interfaces       IPv4      none         which interfaces there are, if several
//	a name                                    IPv4      none         which interfaces there are, if several
//	IPv6, on one without a default route      IPv6      the address  the node has that address
//	IPv6, and there is no default route       IPv6      the address  none
//	any other                                 IPv6      ::           none
//
// "::" is the IPv6 address of the default route's interface. By itself the kubelet takes IPv4 where there is both.
// Where no interface has a default route, an IPv4 cluster leaves the kubelet's own way.
func nodeIP(j *spec.Join, interfaces []spec.Interface) (address, remark string) {
	given := func(arg spec.Arg) bool { return arg.Name == nodeIPArg }
	if slices.ContainsFunc(j.Registration.KubeletExtraArgs, given) {
		return "", ""
	}
	ipv6 := isIPv6(j.Address)
	wants6 := clusterIsIPv6(j)
	found, onDefault := interfaceOf(j.Address, interfaces)
	anyDefault := slices.ContainsFunc(interfaces, func(one spec.Interface) bool { return hasDefault(one, ipv6) })
	switch {
	case wants6 && !ipv6:
		return "::", ""
	case found != "" && anyDefault && !onDefault:
		return j.Address, "The node gets the address " + j.Address + " of " + found + ", at which the machine is " +
			"reached, " +
			"and not that of the interface with the default route; node-ip in kubeletExtraArgs sets another."
	case wants6 && found != "" && !anyDefault:
		return j.Address, ""
	case wants6:
		return "::", ""
	case found == "" && len(interfaces) > 1:
		return "", "The machine has the interfaces " + describeInterfaces(interfaces) + ", and the node gets the " +
			"address " +
			"of the one with the default route; node-ip in kubeletExtraArgs sets another."
	}
	return "", ""
}

// interfaceOf returns the name of the interface that has an address, and whether the default route of the address's
// family leads through it.
func interfaceOf(address string, interfaces []spec.Interface) (name string, byDefault bool) {
	for _, one := range interfaces {
		if slices.Contains(one.Addresses, address) {
			name, byDefault = one.Name, hasDefault(one, isIPv6(address))
		}
	}
	return name, byDefault
}

// hasDefault reports whether a family's default route leads through an interface.
func hasDefault(one spec.Interface, ipv6 bool) bool {
	return one.Default4 && !ipv6 || one.Default6 && ipv6
}

func describeInterfaces(interfaces []spec.Interface) string {
	names := make([]string, len(interfaces))
	for i, one := range interfaces {
		names[i] = one.Name + " (" + strings.Join(one.Addresses, ", ") + ")"
	}
	return strings.Join(names, ", ")
}

func isIPv6(address string) bool {
	ip := net.ParseIP(address)
	return ip != nil && ip.To4() == nil
}

// clusterIsIPv6 reports whether the cluster's Services have IPv6 addresses first, by the address of its DNS server. Its
// kubelets need an IPv6 address then, and by themselves prefer IPv4.
func clusterIsIPv6(j *spec.Join) bool {
	var config struct {
		ClusterDNS []string `yaml:"clusterDNS"`
	}
	return yaml.Unmarshal([]byte(j.KubeletConfig), &config) == nil && len(config.ClusterDNS) > 0 &&
		isIPv6(config.ClusterDNS[0])
}

// podsHaveIPv6 reports whether pods have IPv6 addresses: by the cluster's networks, where they are known, else by its
// Services.
func podsHaveIPv6(j *spec.Join) bool {
	return clusterIsIPv6(j) || slices.ContainsFunc(j.PodNetworks, func(network string) bool {
		prefix, err := netip.ParsePrefix(network)
		return err == nil && prefix.Addr().Is6()
	})
}

// checkIPv6 finds a machine that cannot route the IPv6 packets of pods, and one that loses its own route as soon as it
// does: the kernel ignores router advertisements while it forwards, unless accept_ra is 2.
func checkIPv6(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	if !podsHaveIPv6(j) {
		return
	}
	if !h.Exists(sysctlPath(forwarding6)) || sysctl(h, "net.ipv6.conf.all.disable_ipv6") == "1" {
		f.problem("IPv6 is off on the machine, and the cluster's pods have IPv6 addresses; turn it on " +
			"(net.ipv6.conf.all.disable_ipv6 = 0, and no ipv6.disable=1 on the kernel's command line).")
		return
	}
	if sysctl(h, forwarding6) == "1" {
		return
	}
	for _, one := range inspect.Interfaces(h) {
		const conf = "/proc/sys/net/ipv6/conf/"
		if one.Default6 && h.ReadLine(conf+one.Name+"/accept_ra") == "1" {
			f.remark("The join sets %s = 1, with which the kernel ignores the router advertisements that may have set "+
				"the IPv6 default route of %s; to keep it, set net.ipv6.conf.%s.accept_ra = 2.", forwarding6, one.Name,
				one.Name)
		}
	}
}

// withNodeIP returns the operation's wanted state with the kubelet's node-ip, where there is one to set.
func withNodeIP(h *host.Host, j *spec.Join) *spec.Join {
	address, _ := nodeIP(j, inspect.Interfaces(h))
	if address == "" {
		return j
	}
	with := *j
	with.Registration.KubeletExtraArgs = append(slices.Clone(j.Registration.KubeletExtraArgs),
		spec.Arg{Name: nodeIPArg, Value: address})
	return &with
}

// hasNodeIP reports whether the kubelet has a node-ip. One that joined without keeps the address that it has: the other
// nodes reach it there.
func hasNodeIP(h *host.Host) bool {
	known, _, _ := readSettings(h)
	return strings.Contains(h.ReadLine(layout.KubeletFlags), "--"+nodeIPArg+"=") ||
		slices.ContainsFunc(known.Args, func(arg spec.Arg) bool { return arg.Name == nodeIPArg })
}

// checkInterfaces tells which of several addresses the node gets.
func checkInterfaces(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	if _, remark := nodeIP(j, inspect.Interfaces(h)); remark != "" {
		f.remark("%s", remark)
	}
}
