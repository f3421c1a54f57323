package config

import (
	"net/netip"
	"strings"
)

// Places in the service network that Kubernetes gives a meaning: the first address is the API server's, kubeadm's
// kubelets expect DNS at the tenth.
const (
	apiServicePlace = 1
	dnsServicePlace = 10
)

// APIServiceIP is the address of Service default/kubernetes, the first of networking.serviceCIDR.
func (c *Cluster) APIServiceIP() netip.Addr { return c.serviceAddress(apiServicePlace) }

// ClusterDNS is the address of DNS in the cluster, the tenth of networking.serviceCIDR.
func (c *Cluster) ClusterDNS() netip.Addr { return c.serviceAddress(dnsServicePlace) }

// serviceAddress counts within the first service network; the zero address when there is none.
func (c *Cluster) serviceAddress(place int) netip.Addr {
	text, _, _ := strings.Cut(c.VCluster.Networking.ServiceCIDR, ",")
	network, err := netip.ParsePrefix(strings.TrimSpace(text))
	if err != nil {
		return netip.Addr{}
	}
	address := network.Masked().Addr()
	for range place {
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

// canonical is the one form of a network, so that two ways to write it are no change; what is no network stays as it
// is.
func canonical(network string) string {
	parsed, err := netip.ParsePrefix(strings.TrimSpace(network))
	if err != nil {
		return network
	}
	return parsed.Masked().String()
}
