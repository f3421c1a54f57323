package config

import (
	"net/netip"
	"reflect"
	"strings"
)

// knowsTarget reports whether argosy.yaml tells if Argosy provisions the control plane. It does not if it could not be
// read, or if section cluster or an unknown key beside it has a problem: that key may be a misspelled cluster, and
// further problems would only follow from it.
func (d *document) knowsTarget() bool {
	for _, p := range d.problems {
		if p.Key == "cluster" || strings.HasPrefix(p.Key, "cluster.") || p.Text == unknownKey && parent(p.Key) == "" {
			return false
		}
	}
	return d.root != nil
}

// checkTarget checks the rules of the kind of cluster that the documents describe; v is vcluster.yaml, f is
// argosy.yaml.
func (c *Cluster) checkTarget(v, f *document) {
	if c.Hosted() {
		c.checkHosted(v, f)
		return
	}
	c.checkExisting(v, f)
}

// checkExisting checks the rules of a cluster whose control plane exists already. Its networks are known only if
// vcluster.yaml has them.
func (c *Cluster) checkExisting(v, f *document) {
	if len(c.Fleet.Machines) == 0 {
		f.add("machines", "is missing or empty", "list at least one machine with name and address")
	}
	if f.root.get("controlPlane") != nil && !reflect.DeepEqual(c.Fleet.ControlPlane, defaultFleet().ControlPlane) {
		f.add("controlPlane", "has no effect: cluster.kubeconfigSecret names a cluster whose control plane exists",
			"remove one of them")
	}
	c.Remarks = append(c.Remarks, v.existingRemarks()...)
	known := func(key, value string) []netip.Prefix {
		if v.nodes[key] == nil {
			return nil
		}
		return networksOf(value)
	}
	n := c.VCluster.Networking
	c.checkAddresses(v, f, known("networking.podCIDR", n.PodCIDR), known("networking.serviceCIDR", n.ServiceCIDR))
}
