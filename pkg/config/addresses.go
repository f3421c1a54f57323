package config

import (
	"net/netip"
	"strings"
)

// Indexes of the addresses in the service network that have a fixed use in Kubernetes: the first is the API server's,
// and the kubelets that kubeadm configures expect DNS at the tenth.
const (
	apiServiceIndex = 1
	dnsServiceIndex = 10
)

// APIServiceIP returns the address of Service default/kubernetes, the first of networking.serviceCIDR.
func (c *Cluster) APIServiceIP() netip.Addr { return c.serviceAddress(apiServiceIndex) }

// ClusterDNS returns the address of DNS in the cluster, the tenth of networking.serviceCIDR.
func (c *Cluster) ClusterDNS() netip.Addr { return c.serviceAddress(dnsServiceIndex) }

// serviceAddress returns the address of an index in the first service network; the zero address when there is none.
func (c *Cluster) serviceAddress(index int) netip.Addr {
	text, _, _ := strings.Cut(c.VCluster.Networking.ServiceCIDR, ",")
	network, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil {
		return netip.Addr{}
	}
	address := network.Masked().Addr()
	for range index {
		address = address.Next()
	}
	return address
}

// NetworkWith returns the setting whose network an address lies in, and that network; "" when it lies in none of the
// cluster's own.
func (c *Cluster) NetworkWith(address netip.Addr) (key string, network netip.Prefix) {
	address = address.Unmap().WithZone("")
	for _, own := range []struct{ key, value string }{
		{"networking.podCIDR", c.VCluster.Networking.PodCIDR},
		{"networking.serviceCIDR", c.VCluster.Networking.ServiceCIDR},
	} {
		for _, network := range networksOf(own.value) {
			if network.Contains(address) {
				return own.key, network
			}
		}
	}
	return "", netip.Prefix{}
}

// canonical returns the one form of a network, so that writing it differently is no change. Text that is no network is
// returned unchanged.
func canonical(network string) string {
	parsed, err := netip.ParsePrefix(strings.TrimSpace(network))
	if err != nil {
		return network
	}
	return parsed.Masked().String()
}
