package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// decodeVCluster reads vcluster.yaml over the defaults.
func (d *document) decodeVCluster(v *VCluster) {
	if d.root == nil {
		return
	}
	d.decode(d.root, reflect.ValueOf(v).Elem())
	d.unify(v)
	fillText(reflect.ValueOf(v).Elem(), reflect.ValueOf(defaultVCluster()))
}

// checkVCluster notes what is wrong with vcluster.yaml, whatever argosy.yaml says.
func (d *document) checkVCluster(v *VCluster) {
	if d.root == nil {
		return
	}
	if enabled := d.root.find("privateNodes.enabled"); !v.PrivateNodes.Enabled && (enabled == nil || enabled.tag == "!!bool" || enabled.tag == nullTag) {
		d.add("privateNodes.enabled", "must be true: Argosy gives clusters machines of their own", "write privateNodes: {enabled: true}")
	}
	d.refuse(unsupported())
	d.refuse(notYet())
	d.checkPrivateNodes(v.PrivateNodes)
	d.checkControlPlane(v.ControlPlane)
	d.checkNetworking(v.Networking)
	d.checkAddons(v)
}

func (d *document) checkPrivateNodes(p PrivateNodes) {
	const upgrade = "privateNodes.autoUpgrade"
	u := p.AutoUpgrade
	d.image(join(upgrade, "image"), u.Image)
	d.pullPolicy(join(upgrade, "imagePullPolicy"), u.ImagePullPolicy)
	d.labels(join(upgrade, "nodeSelector"), u.NodeSelector)
	d.webAddress(join(upgrade, "bundleRepository"), u.BundleRepository)
	d.absolute(join(upgrade, "binariesPath"), u.BinariesPath)
	d.absolute(join(upgrade, "cniBinariesPath"), u.CNIBinariesPath)
	d.atLeastOne(join(upgrade, "concurrency"), u.Concurrency)
	d.fits(join(upgrade, "podSecurityContext"), u.PodSecurityContext, new(corev1.PodSecurityContext))
	d.fits(join(upgrade, "containerSecurityContext"), u.ContainerSecurityContext, new(corev1.SecurityContext))
	d.checkJoinNode("privateNodes.joinNode", p.JoinNode)
}

func (d *document) checkJoinNode(key string, j JoinNode) {
	d.image(key+".containerd.pauseImage", j.Containerd.PauseImage)
	d.absolute(join(key, "caCertPath"), j.CACertPath)
	for i, phase := range j.SkipPhases {
		at := fmt.Sprintf("%s.skipPhases[%d]", key, i)
		d.match(at, phase, phaseName, "the name of a kubeadm phase", `write e.g. "preflight" or "kubelet-start"`)
		d.required(at, phase, "remove it")
	}
	registration := join(key, "nodeRegistration")
	r := j.NodeRegistration
	d.socket(join(registration, "criSocket"), r.CRISocket)
	d.pullPolicy(join(registration, "imagePullPolicy"), r.ImagePullPolicy)
	d.taints(join(registration, "taints"), r.Taints)
	for i, name := range r.IgnorePreflightErrors {
		at := fmt.Sprintf("%s.ignorePreflightErrors[%d]", registration, i)
		d.match(at, name, errorName, "the name of a kubeadm check", `write e.g. "Swap", one an item`)
		d.required(at, name, "remove it")
	}
	for i, arg := range r.KubeletExtraArgs {
		d.checkKubeletArg(fmt.Sprintf("%s.kubeletExtraArgs[%d]", registration, i), arg)
	}
}

// checkKubeletArg refuses what would not arrive at the kubelet as one argument: kubeadm writes the arguments into an
// environment file, and systemd splits that at white space and gives quotes and backslashes a meaning.
func (d *document) checkKubeletArg(key string, arg KubeletArg) {
	bare := strings.TrimLeft(arg.Name, "-")
	switch {
	case arg.Name == "hostname-override" || arg.Name == "--hostname-override":
		d.add(join(key, "name"), "would give every machine the same node name", "set nodeName of the machine in argosy.yaml")
	case !d.required(join(key, "name"), arg.Name, ""):
	case bare != arg.Name && argName.MatchString(bare):
		d.add(join(key, "name"), shown(arg.Name)+" starts with dashes", fmt.Sprintf("write %q", bare))
	default:
		d.match(join(key, "name"), arg.Name, argName, "the name of an argument", "use lower case letters, digits and hyphens")
	}
	d.match(join(key, "value"), arg.Value, argValue, "one argument: it holds white space, quotes, a backslash, a dollar sign or a control character", "")
}

func (d *document) pullPolicy(key, value string) {
	d.oneOf(key, value, "Always", "IfNotPresent", "Never")
}

func (d *document) image(key, value string) {
	d.match(key, value, imageName, "the name of an image", `write e.g. "registry.k8s.io/pause:3.10"`)
}

// fits checks that a free section is the Kubernetes type that it stands for.
func (d *document) fits(key string, section Free, kubernetesType any) {
	if len(section) == 0 {
		return
	}
	text, err := json.Marshal(section)
	if err != nil {
		d.add(key, "cannot be written as JSON", "")
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(kubernetesType); err != nil {
		name := reflect.TypeOf(kubernetesType).Elem().Name()
		d.add(key, fmt.Sprintf("is no Kubernetes %s: %s", name, strings.TrimPrefix(err.Error(), "json: ")), "")
	}
}

func (d *document) checkControlPlane(c ControlPlane) {
	d.hostPort("controlPlane.endpoint", c.Endpoint)
	d.checkVersion(c.Distro.K8s)
	d.port("controlPlane.proxy.port", c.Proxy.Port)
	for i, san := range c.Proxy.ExtraSANs {
		d.host("controlPlane.proxy.extraSANs["+strconv.Itoa(i)+"]", san)
	}
	replicas := c.StatefulSet.HighAvailability.Replicas
	d.atLeastOne("controlPlane.statefulSet.highAvailability.replicas", replicas)
	store := c.BackingStore
	embedded := !store.Database.External.Enabled && !store.Etcd.Embedded.Enabled && !store.Etcd.Deploy.Enabled && !store.Etcd.External.Enabled
	if replicas > 1 && embedded {
		d.add("controlPlane.statefulSet.highAvailability.replicas", "more than one replica cannot share an embedded database",
			"set controlPlane.backingStore.etcd.deploy.enabled or controlPlane.backingStore.database.external.enabled")
	}
	d.checkStores(store)
	if b := c.Advanced.PodDisruptionBudget; b.MinAvailable != nil && b.MaxUnavailable != nil {
		d.add("controlPlane.advanced.podDisruptionBudget.maxUnavailable", "cannot stand beside minAvailable", "remove one of them")
	}
}

// checkStores notes a second backing store.
func (d *document) checkStores(b BackingStore) {
	const key = "controlPlane.backingStore"
	chosen := ""
	for _, store := range []struct {
		path string
		on   bool
	}{
		{"database.embedded.enabled", b.Database.Embedded.Enabled},
		{"database.external.enabled", b.Database.External.Enabled},
		{"etcd.embedded.enabled", b.Etcd.Embedded.Enabled},
		{"etcd.deploy.enabled", b.Etcd.Deploy.Enabled && !b.Etcd.Embedded.MigrateFromDeployedEtcd},
		{"etcd.external.enabled", b.Etcd.External.Enabled},
	} {
		switch {
		case store.on && chosen != "":
			d.add(key+"."+store.path, "cannot be on together with "+key+"."+chosen, "keep one of them")
		case store.on:
			chosen = store.path
		}
	}
}

func (d *document) checkVersion(k K8s) {
	const distro = "controlPlane.distro.k8s"
	version, tag := normalVersion(k.Version), normalVersion(k.Image.Tag)
	d.match(distro+".version", version, kubernetesVersion, "a Kubernetes version", `write e.g. "v1.34.4"`)
	d.match(distro+".image.tag", tag, kubernetesVersion, "a Kubernetes version", `write e.g. "v1.34.4"; the tag says which Kubernetes the nodes get`)
	if version != "" && tag != "" && version != tag {
		d.add(distro+".version", "says something else than "+distro+".image.tag, which means the same", "remove one of them")
	}
}

func (d *document) checkNetworking(n Networking) {
	pods, podsOK := d.cidr("networking.podCIDR", n.PodCIDR)
	services, servicesOK := d.cidr("networking.serviceCIDR", n.ServiceCIDR)
	if podsOK && servicesOK && pods.Overlaps(services) {
		key := "networking.serviceCIDR"
		if d.places[key] == nil {
			key = "networking.podCIDR"
		}
		d.add(key, fmt.Sprintf("the pods' %s and the services' %s overlap", pods, services), "")
	}
	d.object("networking.advanced.clusterDomain", n.Advanced.ClusterDomain)
}

// cidr checks a network in CIDR notation. Two networks, of IPv4 and IPv6, may stand with a comma between them; the first
// is returned.
func (d *document) cidr(key, value string) (netip.Prefix, bool) {
	var first netip.Prefix
	for i, part := range strings.Split(value, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil || i > 1 {
			d.add(key, shown(value)+" is not a network", `write e.g. "10.64.0.0/16"`)
			return first, false
		}
		if prefix.Masked() != prefix {
			d.add(key, shown(value)+" has bits beyond its mask", fmt.Sprintf("write %q", prefix.Masked().String()))
			return first, false
		}
		if i == 0 {
			first = prefix
		}
	}
	return first, true
}

// checkAddons holds the rules of section deploy, of kube-ovn and of policies.
func (d *document) checkAddons(v *VCluster) {
	kubeVirt := v.Deploy.CSI.KubeVirt
	if kubeVirt.Enabled && kubeVirt.StorageClass.Enabled && kubeVirt.StorageClass.Default && v.Deploy.LocalPathProvisioner.Enabled {
		d.add("deploy.csi.kubeVirt", "its StorageClass and that of deploy.localPathProvisioner would both be the default",
			"set deploy.localPathProvisioner.enabled: false, or deploy.csi.kubeVirt.storageClass.default: false")
	}
	d.oneOf("policies.podSecurityStandard", v.Policies.PodSecurityStandard, "privileged", "baseline", "restricted")
	d.checkKubeOvn()
	for _, policy := range []struct{ key, value string }{
		{"deploy.cni.flannel.imagePullPolicy", v.Deploy.CNI.Flannel.ImagePullPolicy},
		{"deploy.kubeProxy.imagePullPolicy", v.Deploy.KubeProxy.ImagePullPolicy},
		{"deploy.localPathProvisioner.imagePullPolicy", v.Deploy.LocalPathProvisioner.ImagePullPolicy},
		{"controlPlane.distro.k8s.imagePullPolicy", v.ControlPlane.Distro.K8s.ImagePullPolicy},
		{"controlPlane.statefulSet.imagePullPolicy", v.ControlPlane.StatefulSet.ImagePullPolicy},
		{"controlPlane.advanced.konnectivity.agent.imagePullPolicy", v.ControlPlane.Advanced.Konnectivity.Agent.ImagePullPolicy},
	} {
		d.pullPolicy(policy.key, policy.value)
	}
	d.absolute("deploy.localPathProvisioner.nodePath", v.Deploy.LocalPathProvisioner.NodePath)
}

// checkKubeOvn asks for what connecting nodes to a VPC needs.
func (d *document) checkKubeOvn() {
	const key = "controlPlane.advanced.cloudControllerManager.kubeOvn"
	ovn := d.root.find(key)
	if len(switchedOnExplicitly(ovn)) == 0 {
		return
	}
	needs := []string{"vpc", "loadBalancers.externalSubnet"}
	if len(switchedOnExplicitly(ovn.find("podRoutes"))) > 0 {
		needs = append(needs, "loadBalancers.backendSubnet")
		if d.root.find("networking.podCIDR") == nil {
			d.add("networking.podCIDR", "is missing: "+key+".podRoutes needs it", "")
		}
	}
	for _, need := range needs {
		if value := ovn.find(need); value == nil || value.text == "" {
			d.add(key+"."+need, "is missing", "")
		}
	}
}

// switchedOnExplicitly returns a mapping's "enabled: true".
func switchedOnExplicitly(n *node) []*node {
	enabled := n.get("enabled")
	if enabled == nil {
		return nil
	}
	return switchedOn(enabled)
}
