package config

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// tellsTarget says whether argosy.yaml is clear about who provides the control plane. It is not when it could not be read,
// or when something is wrong with its section cluster or with a key beside it, which may have been meant to be that
// section: what would follow from a slip there is not worth a problem of its own.
func (d *document) tellsTarget() bool {
	for _, p := range d.problems {
		if p.Key == "cluster" || strings.HasPrefix(p.Key, "cluster.") || p.Text == unknownKey && parent(p.Key) == "" {
			return false
		}
	}
	return d.root != nil
}

// checkTarget notes what is wrong with the documents for the kind of cluster that they describe; v is vcluster.yaml, f is
// argosy.yaml.
func (c *Cluster) checkTarget(v, f *document) {
	if c.Hosted() {
		c.checkHosted(v, f)
		return
	}
	if len(c.Fleet.Machines) == 0 {
		f.add("machines", "is missing or empty", "list at least one machine with name and address")
	}
	if f.root.get("controlPlane") != nil {
		f.add("controlPlane", "has no effect: cluster.kubeconfigSecret names a cluster whose control plane exists", "remove one of them")
	}
	v.refuse(notExisting())
}

// maxHostedName leaves room for what is put behind a cluster's name: a StatefulSet's name has at most 52 letters, since
// its pods carry it with a hash of 10 in a label, and "-control-plane" takes 14.
const maxHostedName = 38

// checkHosted holds the rules of a control plane that Argosy provisions.
func (c *Cluster) checkHosted(v, f *document) {
	if len(validation.IsDNS1035Label(c.Name)) > 0 || len(c.Name) > maxHostedName {
		f.add("", fmt.Sprintf("the cluster's name %s cannot be that of a Service and a StatefulSet", shown(c.Name)),
			fmt.Sprintf("name the ConfigMap with up to %d lower case letters, digits and hyphens, a letter first", maxHostedName))
	}
	if c.Fleet.Cluster.Endpoint != "" {
		f.add("cluster.endpoint", "belongs to a cluster that exists already, named by cluster.kubeconfigSecret",
			"set controlPlane.endpoint in vcluster.yaml, which the serving certificate covers")
	}
	if c.KubernetesVersion() == "" {
		v.add("controlPlane.distro.k8s.version", "is missing: Argosy provisions this cluster, since argosy.yaml names no cluster.kubeconfigSecret",
			`write e.g. "v1.34.4", or name the Secret with the kubeconfig of a cluster that exists`)
	}
}
