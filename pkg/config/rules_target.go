package config

import (
	"net/netip"
	"strings"
)

// tellsTarget says whether argosy.yaml is clear about who provides the control plane. It is not when it could not be
// read, or when something is wrong with its section cluster or with a key beside it, which may have been meant to be
// that section: what would follow from a slip there is not worth a problem of its own.
func (d *document) tellsTarget() bool {
	for _, p := range d.problems {
		if p.Key == "cluster" || strings.HasPrefix(p.Key, "cluster.") || p.Text == unknownKey && parent(p.Key) == "" {
			return false
		}
	}
	return d.root != nil
}

// checkTarget notes what is wrong with the documents for the kind of cluster that they describe; v is vcluster.yaml, f
// is argosy.yaml.
func (c *Cluster) checkTarget(v, f *document) {
	if c.Hosted() {
		c.checkHosted(v, f)
		return
	}
	c.checkExisting(v, f)
}

// checkExisting holds the rules of a cluster whose control plane is somebody else's. Of its networks only those are
// known that vcluster.yaml writes out.
func (c *Cluster) checkExisting(v, f *document) {
	if len(c.Fleet.Machines) == 0 {
		f.add("machines", "is missing or empty", "list at least one machine with name and address")
	}
	if f.root.get("controlPlane") != nil && c.Fleet.ControlPlane != defaultFleet().ControlPlane {
		f.add("controlPlane", "has no effect: cluster.kubeconfigSecret names a cluster whose control plane exists",
			"remove one of them")
	}
	v.refuse(notExisting())
	known := func(key, value string) []netip.Prefix {
		if v.places[key] == nil {
			return nil
		}
		return networksOf(value)
	}
	n := c.VCluster.Networking
	c.checkAddresses(v, f, known("networking.podCIDR", n.PodCIDR), known("networking.serviceCIDR", n.ServiceCIDR))
}
