package join

import (
	"context"
	"net"
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
//	on an interface without a default route   any       the address  the node has that address
//	on the default route's interface          any       none         none
//	on none of the machine's interfaces       any       none         which interfaces there are, if several
//	a name                                    any       none         which interfaces there are, if several
//	IPv4, a name, or on no interface          IPv6      ::           none
//
// Where no interface has a default route there is nothing to go by, and the kubelet's own way is left.
func nodeIP(j *spec.Join, interfaces []spec.Interface) (address, remark string) {
	given := func(arg spec.Arg) bool { return arg.Name == nodeIPArg }
	if slices.ContainsFunc(j.Registration.KubeletExtraArgs, given) {
		return "", ""
	}
	ipv6 := isIPv6(j.Address)
	wants6 := clusterIsIPv6(j)
	onDefault, anyDefault, found := false, false, ""
	for _, one := range interfaces {
		byDefault := one.Default4 && !ipv6 || one.Default6 && ipv6
		anyDefault = anyDefault || byDefault
		if slices.Contains(one.Addresses, j.Address) {
			onDefault, found = byDefault, one.Name
		}
	}
	switch {
	case wants6 && (!ipv6 || found == ""):
		return "::", ""
	case found != "" && anyDefault && !onDefault:
		return j.Address, "The node gets the address " + j.Address + " of " + found + ", at which the machine is " +
			"reached, " +
			"and not that of the interface with the default route; node-ip in kubeletExtraArgs sets another."
	case found == "" && len(interfaces) > 1:
		return "", "The machine has the interfaces " + describeInterfaces(interfaces) + ", and the node gets the " +
			"address " +
			"of the one with the default route; node-ip in kubeletExtraArgs sets another."
	}
	return "", ""
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
