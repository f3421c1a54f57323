package config

import (
	"slices"

	"argosy.dev/argosy/pkg/errclass"
)

// Cluster is both documents, parsed, defaulted and validated.
type Cluster struct {
	// Name of the cluster, which is the name of its ConfigMap.
	Name string `json:"name"`
	// Namespace of the host cluster that holds the ConfigMap and the Secrets. Parse leaves it empty.
	Namespace string   `json:"namespace,omitempty"`
	VCluster  VCluster `json:"vcluster"`
	Fleet     Fleet    `json:"fleet"`
	// Remarks are sentences about settings that are valid and have no effect, and about defaults that were chosen.
	Remarks []string `json:"-"`
}

// Parse reads both documents of a cluster. Its error has class errclass.Configuration and holds Problems, all of them
// at once.
func Parse(cluster string, vcluster, argosy []byte) (*Cluster, error) {
	c := Defaults()
	c.Name = cluster
	v, f := read(VClusterDocument, vcluster), read(FleetDocument, argosy)
	v.decodeVCluster(&c.VCluster)
	f.decodeFleet(&c.Fleet)
	v.checkVCluster(&c.VCluster)
	f.checkFleet(&c)
	if v.root != nil && f.root != nil {
		c.checkRuntimes(v, f)
	}
	if v.root != nil && f.knowsTarget() {
		c.checkTarget(v, f)
	}
	if problems := append(v.all(), f.all()...); len(problems) > 0 {
		return nil, errclass.With(errclass.Configuration, problems.sorted())
	}
	c.Remarks = slices.Concat(c.versionRemarks(), c.Remarks, v.ignoredDefaults())
	return &c, nil
}

// Machine returns the machine of this name.
func (c *Cluster) Machine(name string) (Machine, bool) {
	for _, m := range c.Fleet.Machines {
		if m.Name == name {
			return m, true
		}
	}
	return Machine{}, false
}

// SSHFor returns how to reach a machine: its own settings, field by field, then the fleet's, then the defaults. Every
// bastion has its port, user and Secret filled in. An empty list that a machine writes out ("bastions: []") counts as
// set.
func (c *Cluster) SSHFor(m Machine) SSH {
	s := m.SSH
	base := c.Fleet.SSH
	fill(&s.User, base.User)
	fill(&s.Port, base.Port)
	fill(&s.Secret, base.Secret)
	fill(&s.KnownHostsSecret, base.KnownHostsSecret)
	fill(&s.TrustOnFirstUse, base.TrustOnFirstUse)
	fill(&s.ConnectTimeout, base.ConnectTimeout)
	fill(&s.KeepAlive, base.KeepAlive)
	fill(&s.StartupTimeout, base.StartupTimeout)
	if s.HostKeys == nil {
		s.HostKeys = base.HostKeys
	}
	if s.HostCAs == nil {
		s.HostCAs = base.HostCAs
	}
	if s.Bastions == nil {
		s.Bastions = base.Bastions
	}
	s.Bastions = append([]Bastion{}, s.Bastions...)
	for i := range s.Bastions {
		fill(&s.Bastions[i].Port, defaultSSHPort)
		fill(&s.Bastions[i].User, s.User)
		fill(&s.Bastions[i].Secret, s.Secret)
	}
	return s
}

// fill sets an empty value.
func fill[T comparable](value *T, otherwise T) {
	var empty T
	if *value == empty {
		*value = otherwise
	}
}

// Taints returns the taints of a machine's node: its own, then those of privateNodes.joinNode.nodeRegistration. Where
// both name the same key and effect, the machine's holds.
func (c *Cluster) Taints(m Machine) []Taint {
	type identity struct{ key, effect string }
	var taints []Taint
	seen := map[identity]bool{}
	for _, taint := range append(append([]Taint{}, m.Taints...),
		c.VCluster.PrivateNodes.JoinNode.NodeRegistration.Taints...) {
		if id := (identity{taint.Key, taint.Effect}); !seen[id] {
			seen[id] = true
			taints = append(taints, taint)
		}
	}
	return taints
}

// KubeletsRequestCertificates reports whether the kubelets of a hosted cluster ask it for their serving certificates,
// rather than sign them themselves or read them from a file. They do unless the documents have it otherwise.
func (c *Cluster) KubeletsRequestCertificates() bool {
	settings := c.VCluster.PrivateNodes.Kubelet.Config
	request, set := settings["serverTLSBootstrap"].(bool)
	own, _ := settings["tlsCertFile"].(string)
	return (request || !set) && own == ""
}

// CgroupDriver returns the driver of every node, "systemd" or "cgroupfs"; "" when neither document sets it, which means
// that of the cluster's kubelet-config.
func (c *Cluster) CgroupDriver() string { return c.VCluster.PrivateNodes.Kubelet.CgroupDriver }
