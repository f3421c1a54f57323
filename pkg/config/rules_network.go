package config

import (
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

func (d *document) checkNetworking(n Networking) {
	pods, services := d.cidr("networking.podCIDR", n.PodCIDR), d.cidr("networking.serviceCIDR", n.ServiceCIDR)
	for _, ofPods := range pods {
		for _, ofServices := range services {
			if ofPods.Overlaps(ofServices) {
				d.add(d.writtenOf("networking.serviceCIDR", "networking.podCIDR"), fmt.Sprintf("the pods' %s and the services' %s overlap", ofPods, ofServices),
					"choose two networks that have no address in common")
			}
		}
	}
	d.domain("networking.advanced.clusterDomain", n.Advanced.ClusterDomain)
}

// writtenOf returns the first of the keys that the document has, or the last one.
func (d *document) writtenOf(keys ...string) string {
	for _, key := range keys {
		if d.places[key] != nil {
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

// cidr checks a network in CIDR notation and returns it. Two, of IPv4 and IPv6, may stand with a comma between them. What
// is wrong with any of them leaves none.
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
			d.add(key, shown(value)+" holds two networks of one family", "write one network, or one of IPv4 and one of IPv6")
			return nil
		case special(network.Addr()):
			d.add(key, shown(value)+" is not a network that hosts have addresses in", `write a private one, e.g. "10.64.0.0/16"`)
			return nil
		}
		networks = append(networks, network)
	}
	return networks
}

// special says whether an address is of a kind that no pod and no Service can have.
func special(address netip.Addr) bool {
	return address.IsUnspecified() || address.IsLoopback() || address.IsMulticast() || address.IsLinkLocalUnicast()
}
