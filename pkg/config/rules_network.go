package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

func (d *document) checkNetworking(n Networking) {
	pods, services := d.cidr("networking.podCIDR", n.PodCIDR), d.cidr("networking.serviceCIDR", n.ServiceCIDR)
	for _, ofPods := range pods {
		for _, ofServices := range services {
			if ofPods.Overlaps(ofServices) {
				d.add(d.writtenOf("networking.serviceCIDR", "networking.podCIDR"),
					fmt.Sprintf("the pods' %s and the services' %s overlap", ofPods, ofServices),
					"choose two networks that have no address in common")
			}
		}
	}
	d.domain("networking.advanced.clusterDomain", n.Advanced.ClusterDomain)
}

// writtenOf returns the first of the keys that the document has, or the last key.
func (d *document) writtenOf(keys ...string) string {
	for _, key := range keys {
		if d.nodes[key] != nil {
			return key
		}
	}
	return keys[len(keys)-1]
}

// domain checks a DNS name.
func (d *document) domain(key, value string) {
	if value == "" || len(validation.IsDNS1123Subdomain(value)) == 0 {
		return
	}
	suggestion := `write e.g. "cluster.local"`
	if bare := strings.ToLower(strings.Trim(value, ".")); len(validation.IsDNS1123Subdomain(bare)) == 0 {
		suggestion = fmt.Sprintf("write %q", bare)
	}
	d.add(key, shown(value)+" is not a DNS name", suggestion)
}

// cidr checks a network in CIDR notation and returns it. Two networks, one of IPv4 and one of IPv6, may be separated by
// a comma. It returns none if one of them is wrong.
func (d *document) cidr(key, value string) []netip.Prefix {
	var networks []netip.Prefix
	for _, part := range strings.Split(value, ",") {
		network, err := netip.ParsePrefix(strings.TrimSpace(part))
		switch {
		case err != nil || len(networks) > 1:
			d.add(key, shown(value)+" is not a network", `write e.g. "10.64.0.0/16"`)
			return nil
		case network.Masked() != network:
			d.add(key, shown(value)+" has bits beyond its mask", fmt.Sprintf("write %q", network.Masked().String()))
			return nil
		case len(networks) == 1 && networks[0].Addr().Is4() == network.Addr().Is4():
			d.add(key, shown(value)+" holds two networks of one family",
				"write one network, or one of IPv4 and one of IPv6")
			return nil
		case special(network.Addr()):
			d.add(key, shown(value)+" is not a network that hosts have addresses in",
				`write a private one, e.g. "10.64.0.0/16"`)
			return nil
		}
		networks = append(networks, network)
	}
	return networks
}

// special reports whether an address is of a kind that no pod and no Service can have.
func special(address netip.Addr) bool {
	return address.IsUnspecified() || address.IsLoopback() || address.IsMulticast() ||
		address.IsLinkLocalUnicast() || reserved.Contains(address) || thisNetwork.Contains(address)
}

var (
	// reserved is class E, of which Linux and switches drop much; see RFC 1112.
	reserved = netip.MustParsePrefix("240.0.0.0/4")
	// thisNetwork is never a destination; see RFC 1122.
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
)

// networksOf returns the networks of a value, or none if one of them is wrong.
func networksOf(value string) []netip.Prefix { return (&document{}).cidr("", value) }

// Bounds of the networks, as Kubernetes sets them.
const (
	// kube-apiserver keeps a bitmap of the service network, of at most 2^20 addresses.
	maxServiceBits = 20
	// DNS has the tenth address of the service network, which therefore needs 2^4.
	minServiceBits = 4
	// kube-controller-manager gives each node a network of this mask, unless its arguments set another.
	nodeMask4, nodeMask6 = 24, 64
	// It keeps a bitmap of those networks, of at most 2^16.
	maxNodeBits = 16
)

// nodeMaskArg of kube-controller-manager sets another size of the nodes' networks.
const nodeMaskArg = "--node-cidr-mask-size"

// checkHostedNetworks checks the bounds that the components of a control plane set for its networks.
func (d *document) checkHostedNetworks(c *Cluster) {
	const podKey, serviceKey = "networking.podCIDR", "networking.serviceCIDR"
	pods, services := networksOf(c.VCluster.Networking.PodCIDR), networksOf(c.VCluster.Networking.ServiceCIDR)
	for key, networks := range map[string][]netip.Prefix{podKey: pods, serviceKey: services} {
		if len(networks) > 1 {
			d.add(key, "is dual-stack, which this version does not provision", "write one network")
			return
		}
	}
	if len(pods) == 0 || len(services) == 0 {
		return
	}
	if pods[0].Addr().Is4() != services[0].Addr().Is4() {
		d.add(d.writtenOf(serviceKey, podKey), fmt.Sprintf("the pods' %s and the services' %s are of two families",
			pods[0], services[0]), "write two networks of IPv4, or two of IPv6")
	}
	switch bits := services[0].Addr().BitLen() - services[0].Bits(); {
	case bits > maxServiceBits:
		d.add(serviceKey, fmt.Sprintf("%s is larger than kube-apiserver accepts", services[0]),
			fmt.Sprintf("use /%d or a smaller network", services[0].Addr().BitLen()-maxServiceBits))
	case bits < minServiceBits:
		d.add(serviceKey, fmt.Sprintf("%s has no room for DNS, whose address is the tenth", services[0]),
			fmt.Sprintf("use /%d or a larger network", services[0].Addr().BitLen()-minServiceBits))
	}
	arguments := c.VCluster.ControlPlane.Distro.K8s.ControllerManager.ExtraArgs
	if !slices.ContainsFunc(arguments, func(arg string) bool { return strings.HasPrefix(arg, nodeMaskArg) }) {
		d.checkNodeNetworks(podKey, pods[0], len(c.Fleet.Machines))
	}
}

// checkNodeNetworks checks that the pods' network has a part for every machine's node.
func (d *document) checkNodeNetworks(key string, pods netip.Prefix, machines int) {
	mask := nodeMask4
	if pods.Addr().Is6() {
		mask = nodeMask6
	}
	switch bits := mask - pods.Bits(); {
	case bits < 0:
		d.add(key, fmt.Sprintf("%s has no room for one node, which gets a /%d of it", pods, mask),
			fmt.Sprintf("use /%d or a larger network", mask-8))
	case bits > maxNodeBits:
		d.add(key, fmt.Sprintf("%s is larger than kube-controller-manager accepts", pods),
			fmt.Sprintf("use /%d or a smaller network", mask-maxNodeBits))
	case machines > 1<<bits:
		d.add(key, fmt.Sprintf("%s has room for %d nodes, each with a /%d, and argosy.yaml lists %d machines", pods,
			1<<bits, mask, machines), "use a larger network")
	}
}

// address is one address in a document, or a network of several.
type address struct {
	document *document
	key      string
	network  netip.Prefix
}

// addresses returns the addresses in the documents, in their order; host names are not looked up.
func (c *Cluster) addresses(v, f *document) []address {
	var found []address
	add := func(d *document, key, host string) {
		if parsed, err := netip.ParseAddr(host); err == nil {
			parsed = parsed.Unmap().WithZone("")
			found = append(found, address{d, key, netip.PrefixFrom(parsed, parsed.BitLen())})
		}
	}
	addHostPort := func(d *document, key, hostPort string) {
		host, _, _ := net.SplitHostPort(hostPort)
		add(d, key, host)
	}
	addBastions := func(key string, bastions []Bastion) {
		for i, bastion := range bastions {
			add(f, fmt.Sprintf("%s.bastions[%d].address", key, i), bastion.Address)
		}
	}
	addHostPort(v, "controlPlane.endpoint", c.VCluster.ControlPlane.Endpoint)
	addHostPort(f, "cluster.endpoint", c.Fleet.Cluster.Endpoint)
	addBastions("ssh", c.Fleet.SSH.Bastions)
	for i, machine := range c.Fleet.Machines {
		add(f, fmt.Sprintf("machines[%d].address", i), machine.Address)
		addBastions(fmt.Sprintf("machines[%d].ssh", i), machine.SSH.Bastions)
	}
	for i, pool := range c.VCluster.Deploy.MetalLB.IPAddressPool.Addresses {
		key := fmt.Sprintf("deploy.metallb.ipAddressPool.addresses[%d]", i)
		if network, err := netip.ParsePrefix(pool); err == nil {
			found = append(found, address{v, key, network})
			continue
		}
		first, last, _ := strings.Cut(pool, "-")
		add(v, key, strings.TrimSpace(first))
		add(v, key, strings.TrimSpace(last))
	}
	return found
}

// checkAddresses checks that no address of the documents is in a network of the cluster: nodes would route packets to
// it to pods or Services. v is vcluster.yaml, f is argosy.yaml.
func (c *Cluster) checkAddresses(v, f *document, pods, services []netip.Prefix) {
	for _, a := range c.addresses(v, f) {
		for _, taken := range []struct {
			key      string
			networks []netip.Prefix
		}{{"networking.podCIDR", pods}, {"networking.serviceCIDR", services}} {
			for _, network := range taken.networks {
				if network.Overlaps(a.network) {
					a.document.add(a.key, fmt.Sprintf("lies in %s, which is %s: nodes would take it for the "+
						"cluster's own", taken.key, network),
						"choose another "+taken.key+" in vcluster.yaml")
				}
			}
		}
	}
}
