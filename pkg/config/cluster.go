package config

import (
	"regexp"
	"strings"

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

// KubernetesVersion returns the version that the cluster should have, as "v1.34.4", from
// controlPlane.distro.k8s.version or image.tag; "" when neither is set, which means the API server's version.
func (c *Cluster) KubernetesVersion() string {
	k8s := c.VCluster.ControlPlane.Distro.K8s
	version := k8s.Version
	if version == "" {
		version = k8s.Image.Tag
	}
	return normalVersion(version)
}

// AtVersion returns the same cluster at another version than that of its document. It returns an error of class
// errclass.Configuration if the document names an image whose tag is no version.
func (c *Cluster) AtVersion(version string) (*Cluster, error) {
	const key = "controlPlane.distro.k8s.image.tag"
	if !kubernetesVersion.MatchString(version) {
		return nil, errclass.Errorf(errclass.Configuration,
			"reading version %q: not a Kubernetes version; write e.g. v1.34.4", version)
	}
	other := *c
	k8s := &other.VCluster.ControlPlane.Distro.K8s
	if tag := k8s.Image.Tag; tag != "" {
		if !kubernetesVersion.MatchString(normalVersion(tag)) {
			return nil, errclass.Errorf(errclass.Configuration,
				"setting version %s: %s in %s is %q, which is no version; write the image of %s there",
				version, key, VClusterDocument, tag, version)
		}
		k8s.Image.Tag = version
		if strings.HasSuffix(tag, fullImage) {
			k8s.Image.Tag += fullImage
		}
	}
	if k8s.Version != "" || k8s.Image.Tag == "" {
		k8s.Version = version
	}
	return &other, nil
}

var kubernetesVersion = regexp.MustCompile(`^v\d{1,3}\.\d{1,3}\.\d{1,3}(-[0-9A-Za-z]+([.-][0-9A-Za-z]+)*)?$`)

// normalVersion returns the one form of a version: "1.34.4" and "v1.34.4-full" are "v1.34.4".
func normalVersion(version string) string {
	version = strings.TrimSuffix(version, fullImage)
	if version != "" && !strings.HasPrefix(version, "v") {
		version = "v" + version
	}
	return version
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

// CgroupDriver returns the driver of every node, "systemd" or "cgroupfs"; "" when neither document sets it, which means
// that of the cluster's kubelet-config.
func (c *Cluster) CgroupDriver() string { return c.VCluster.PrivateNodes.Kubelet.CgroupDriver }
