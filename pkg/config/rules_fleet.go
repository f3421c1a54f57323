package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// decodeFleet reads argosy.yaml over the defaults.
func (d *document) decodeFleet(f *Fleet) {
	if d.root == nil {
		return
	}
	d.decode(d.root, reflect.ValueOf(f).Elem())
	for i := range f.Machines {
		fill(&f.Machines[i].NodeName, f.Machines[i].Name)
	}
}

// checkFleet checks argosy.yaml with the rules that hold for both kinds of control plane.
func (d *document) checkFleet(c *Cluster) {
	if d.root == nil {
		return
	}
	d.required("apiVersion", c.Fleet.APIVersion, "write apiVersion: "+fleetAPIVersion)
	d.required("kind", c.Fleet.Kind, "write kind: "+fleetKind)
	d.object("cluster.kubeconfigSecret", c.Fleet.Cluster.KubeconfigSecret)
	d.hostPort("cluster.endpoint", c.Fleet.Cluster.Endpoint)
	d.checkSSH("ssh", c.Fleet.SSH)
	d.checkMachines(c)
	d.checkBundles(&c.Fleet.Bundles)
	d.checkPolicy(c.Fleet)
	d.checkUpgrade(c)
	d.checkRegistries(c.Fleet.Registries)
	d.checkFlannelNetwork(c)
	// After the checks: a wrong repository of vcluster.yaml is a problem of that document.
	if !c.BundlesFromControlPlane() {
		fill(&c.Fleet.Bundles.Repository, c.VCluster.PrivateNodes.AutoUpgrade.BundleRepository)
	}
}

func (d *document) checkSSH(key string, s SSH) {
	d.match(join(key, "user"), s.User, userName, "a user name", `use letters, digits, "_", "-" and "."`)
	d.port(join(key, "port"), s.Port)
	d.object(join(key, "secret"), s.Secret)
	d.object(join(key, "knownHostsSecret"), s.KnownHostsSecret)
	d.publicKeys(join(key, "hostKeys"), s.HostKeys)
	d.publicKeys(join(key, "hostCAs"), s.HostCAs)
	d.positive(join(key, "connectTimeout"), s.ConnectTimeout)
	d.positive(join(key, "keepAlive"), s.KeepAlive)
	d.notTooShort(join(key, "startupTimeout"), metav1.Duration{Duration: s.Startup()})
	if s.Startup() < 0 {
		d.add(join(key, "startupTimeout"), "is negative", "write 0s, or how long")
	}
	for i, bastion := range s.Bastions {
		at := fmt.Sprintf("%s.bastions[%d]", key, i)
		if d.required(join(at, "address"), bastion.Address, "") {
			d.host(join(at, "address"), bastion.Address)
		}
		d.match(join(at, "user"), bastion.User, userName, "a user name", `use letters, digits, "_", "-" and "."`)
		d.port(join(at, "port"), bastion.Port)
		d.object(join(at, "secret"), bastion.Secret)
		d.publicKeys(join(at, "hostKeys"), bastion.HostKeys)
	}
}

// owners holds the index of the machine that has a name or an address, to find a second one.
type owners map[string]int

// claim gives the value to a machine, and returns the machine that had it before, if any.
func (o owners) claim(value string, machine int) (first int, taken bool) {
	if first, taken = o[value]; !taken {
		o[value] = machine
	}
	return first, taken
}

func (d *document) checkMachines(c *Cluster) {
	names, nodeNames, addresses := owners{}, owners{}, owners{}
	for i, m := range c.Fleet.Machines {
		key := "machines[" + strconv.Itoa(i) + "]"
		d.checkMachine(key, m)
		if first, taken := names.claim(m.Name, i); taken && m.Name != "" {
			d.add(join(key, "name"), fmt.Sprintf("%s is the name of machines[%d] too", shown(m.Name), first),
				"give each machine a name of its own")
		} else if first, taken := nodeNames.claim(m.NodeName, i); taken && m.NodeName != "" {
			d.add(join(key, "nodeName"), fmt.Sprintf("%s is the node name of machines[%d] too", shown(m.NodeName),
				first), "give each node a name of its own")
		}
		d.checkAddress(join(key, "address"), m, c, addresses, i)
	}
}

func (d *document) checkAddress(key string, m Machine, c *Cluster, addresses owners, i int) {
	if !d.required(key, m.Address, "write a host name or an IP address") {
		return
	}
	host, ok := d.host(key, m.Address)
	if !ok {
		return
	}
	at := net.JoinHostPort(host, strconv.Itoa(c.SSHFor(m).Port))
	if first, taken := addresses.claim(at, i); taken {
		other := c.Fleet.Machines[first]
		d.add(key, fmt.Sprintf("%s is the address of machine %s too, at the same port", host, shown(other.Name)),
			"correct one of them, or remove the machine that is listed twice")
	}
}

// maxNodeName is the length of a label's value: the kubelet puts the node's name into the label kubernetes.io/hostname.
const maxNodeName = 63

func (d *document) checkMachine(key string, m Machine) {
	if d.required(join(key, "name"), m.Name, "") && d.label(join(key, "name"), m.Name) && m.Name == allMachines {
		d.add(join(key, "name"), shown(m.Name)+" selects all machines, also those to reset or remove",
			"give the machine another name")
	}
	if m.NodeName != m.Name && d.object(join(key, "nodeName"), m.NodeName) && len(m.NodeName) > maxNodeName {
		d.add(join(key, "nodeName"), fmt.Sprintf("is longer than %d letters, and the kubelet puts it into a label",
			maxNodeName), "")
	}
	d.labels(join(key, "labels"), m.Labels)
	d.notOfKubelet(join(key, "labels"), m.Labels)
	d.taints(join(key, "taints"), m.Taints)
	d.checkSSH(join(key, "ssh"), m.SSH)
	d.absolute(key+".join.binariesPath", m.Join.BinariesPath)
	d.absolute(key+".join.cniBinariesPath", m.Join.CNIBinariesPath)
	d.checkJoinNode(join(key, "join"), m.Join.joinNode())
}

// kubeletLabels are those that a kubelet sets at its own node, and sets back.
func kubeletLabels() []string {
	return []string{
		"kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch",
		"beta.kubernetes.io/os",
	}
}

func (d *document) notOfKubelet(key string, labels map[string]string) {
	for _, name := range kubeletLabels() {
		if _, set := labels[name]; set {
			d.add(join(key, name), "is the kubelet's own label, which it sets to what the machine is", "remove it")
		}
	}
}

func (d *document) taints(key string, taints []Taint) {
	seen := map[Taint]bool{}
	for i, taint := range taints {
		at := key + "[" + strconv.Itoa(i) + "]"
		if d.required(join(at, "key"), taint.Key, "") {
			d.qualified(join(at, "key"), taint.Key)
		}
		d.labelValue(join(at, "value"), taint.Value)
		d.required(join(at, "effect"), taint.Effect, "use NoSchedule, PreferNoSchedule or NoExecute")
		if id := (Taint{Key: taint.Key, Effect: taint.Effect}); seen[id] {
			d.add(at, "has the key and effect of a taint above it", "remove one of them")
		} else {
			seen[id] = true
		}
	}
}

func (d *document) checkBundles(b *Bundles) {
	d.webAddress("bundles.repository", b.Repository)
	d.certificates("bundles.caCert", b.CACert)
	for _, name := range slices.Sorted(maps.Keys(b.SHA256)) {
		key := join("bundles.sha256", name)
		digest := b.SHA256[name]
		d.match(key, name, fileName, "a file name", `write e.g. "kubernetes-v1.37.2-amd64.tar.gz"`)
		if !sha256Hex.MatchString(digest) {
			d.add(key, shown(digest)+" is not a SHA-256 digest", "write its 64 hexadecimal digits")
		}
		b.SHA256[name] = strings.ToLower(digest)
	}
}

// certificates checks one or more PEM certificates.
func (d *document) certificates(key, text string) {
	rest := []byte(strings.TrimSpace(text))
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			d.add(key, "is not a PEM certificate",
				`write it with its lines "-----BEGIN CERTIFICATE-----" and "-----END CERTIFICATE-----"`)
			return
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			d.add(key, "holds a certificate that cannot be read", "")
			return
		}
		rest = []byte(strings.TrimSpace(string(after)))
	}
}

func (d *document) checkPolicy(f Fleet) {
	d.positive("controlPlane.timeout", f.ControlPlane.Timeout)
	d.image("controlPlane.image", f.ControlPlane.Image)
	d.quantity("join.minDisk", f.Join.MinDisk)
	d.quantity("join.minMemory", f.Join.MinMemory)
	d.positive("join.maxClockSkew", f.Join.MaxClockSkew)
	d.positive("join.commandTimeout", f.Join.CommandTimeout)
	d.positive("drain.timeout", f.Drain.Timeout)
	d.gracePeriod("drain.gracePeriod", f.Drain.GracePeriod)
	d.atLeastOne("limits.concurrency", f.Limits.Concurrency)
	d.positive("limits.machineTimeout", f.Limits.MachineTimeout)
	d.positive("limits.readyTimeout", f.Limits.ReadyTimeout)
	d.positive("limits.retryBudget", f.Limits.RetryBudget)
}

// checkRegistries checks how the plugin reaches registries.
func (d *document) checkRegistries(r Registries) {
	d.object("registries.secret", r.Secret)
	d.certificates("registries.caCert", r.CACert)
	seen := map[string]bool{}
	for i, host := range r.PlainHTTP {
		key := "registries.plainHTTP[" + strconv.Itoa(i) + "]"
		switch {
		case !d.required(key, host, "remove it"):
		case d.registry(key, host) && seen[host]:
			d.add(key, "is a duplicate", "remove one of them")
		}
		seen[host] = true
	}
}

// maxGracePeriod is a day, in seconds: a longer time is a mistake in the unit.
const maxGracePeriod = 24 * 60 * 60

func (d *document) gracePeriod(key string, seconds int) {
	if seconds < -1 || seconds > maxGracePeriod {
		d.add(key, fmt.Sprintf("%d is not a number of seconds up to a day", seconds),
			"write -1 for each pod's own, 0 to kill at once, or how many seconds")
	}
}
