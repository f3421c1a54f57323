package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"argosy.dev/argosy/internal/imageref"
)

// decodeVCluster reads vcluster.yaml over the defaults.
func (d *document) decodeVCluster(v *VCluster) {
	if d.root == nil {
		return
	}
	d.decode(d.root, reflect.ValueOf(v).Elem())
	d.unify(v)
	d.keepWhatHolds(v)
}

// keepWhatHolds completes an image of etcd that has a tag alone, as the original does, and sets switches that are
// always on with private nodes. Their value in the document is true or the original's default, which is false.
func (d *document) keepWhatHolds(v *VCluster) {
	k8s := &v.ControlPlane.Distro.K8s
	if etcd := &v.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Image; etcd.Tag != "" && etcd.Repository == "" {
		fill(&etcd.Registry, "registry.k8s.io")
		etcd.Repository = "etcd"
	}
	for _, key := range alwaysOn() {
		if n := d.root.find(key); n != nil && isFalse(n) {
			d.ignoreDefaults([]*node{n})
		}
	}
	k8s.Enabled, k8s.Scheduler.Enabled, v.ControlPlane.Advanced.VirtualScheduler.Enabled = true, true, true
}

// alwaysOn returns the switches that are on with private nodes, whatever the document has.
func alwaysOn() []string {
	return []string{
		"controlPlane.distro.k8s.enabled", "controlPlane.distro.k8s.scheduler.enabled",
		"controlPlane.advanced.virtualScheduler.enabled",
	}
}

// checkVCluster checks vcluster.yaml with the rules that need no argosy.yaml.
func (d *document) checkVCluster(v *VCluster) {
	if d.root == nil {
		return
	}
	if enabled := d.root.find("privateNodes.enabled"); !v.PrivateNodes.Enabled &&
		(enabled == nil || enabled.tag == "!!bool" || enabled.tag == nullTag) {
		d.add("privateNodes.enabled", "must be true: Argosy gives clusters machines of their own",
			"write privateNodes: {enabled: true}")
	}
	d.refuse(unsupported())
	d.checkPrivateNodes(v.PrivateNodes)
	d.checkControlPlane(v.ControlPlane)
	d.checkNetworking(v.Networking)
	d.checkAddons(v)
}

func (d *document) checkPrivateNodes(p PrivateNodes) {
	const upgrade = "privateNodes.autoUpgrade"
	u := p.AutoUpgrade
	d.image(join(upgrade, "image"), u.Image)
	d.labels(join(upgrade, "nodeSelector"), u.NodeSelector)
	d.webAddress(join(upgrade, "bundleRepository"), u.BundleRepository)
	d.absolute(join(upgrade, "binariesPath"), u.BinariesPath)
	d.absolute(join(upgrade, "cniBinariesPath"), u.CNIBinariesPath)
	d.amount(join(upgrade, "concurrency"), u.Concurrency, 1)
	d.fits(join(upgrade, "podSecurityContext"), u.PodSecurityContext, new(corev1.PodSecurityContext))
	d.fits(join(upgrade, "containerSecurityContext"), u.ContainerSecurityContext, new(corev1.SecurityContext))
	d.checkJoinNode("privateNodes.joinNode", p.JoinNode)
	d.checkAllMachines("privateNodes.joinNode.nodeRegistration.kubeletExtraArgs",
		p.JoinNode.NodeRegistration.KubeletExtraArgs)
}

func (d *document) image(key, value string) {
	if value == "" {
		return
	}
	if _, err := imageref.Normalize(value); err != nil {
		d.add(key, shown(value)+" is not the name of an image", `write e.g. "registry.k8s.io/pause:3.10"`)
	}
}

// certificateName checks a name or an address of a certificate. As in kubeadm, the first part of a name may be "*".
func (d *document) certificateName(key, value string) {
	if bare, isWildcard := strings.CutPrefix(value, "*."); isWildcard && strings.Contains(bare, ".") &&
		len(validation.IsDNS1123Subdomain(bare)) == 0 {
		return
	}
	d.host(key, value)
}

func (d *document) checkControlPlane(c ControlPlane) {
	d.hostPort("controlPlane.endpoint", c.Endpoint)
	d.checkComponents("controlPlane.distro.k8s", c.Distro.K8s)
	d.port("controlPlane.proxy.port", c.Proxy.Port)
	for i, san := range c.Proxy.ExtraSANs {
		d.certificateName("controlPlane.proxy.extraSANs["+strconv.Itoa(i)+"]", san)
	}
	d.metadata("controlPlane.service", c.Service.Labels, c.Service.Annotations)
	d.service("controlPlane.service.spec", c.Service.Spec)
	if c.Service.HTTPSNodePort != 0 {
		d.port("controlPlane.service.httpsNodePort", c.Service.HTTPSNodePort)
	}
	d.checkReplicas(c)
	d.checkStores(c.BackingStore)
	d.checkStatefulSet("controlPlane.statefulSet", c.StatefulSet)
	d.checkEtcd("controlPlane.backingStore.etcd.deploy", c.BackingStore.Etcd.Deploy)
	d.checkCoreDNS("controlPlane.coredns", c.CoreDNS)
	d.checkAdvanced("controlPlane.advanced", c.Advanced)
}

func (d *document) checkReplicas(c ControlPlane) {
	const key = "controlPlane.statefulSet.highAvailability.replicas"
	replicas := c.StatefulSet.HighAvailability.Replicas
	d.atLeastOne(key, replicas)
	store := c.BackingStore
	embedded := !store.Database.External.Enabled && !store.Etcd.Embedded.Enabled && !store.Etcd.Deploy.Enabled &&
		!store.Etcd.External.Enabled
	if replicas > 1 && embedded {
		d.add(key, "more than one replica cannot share an embedded database",
			"set controlPlane.backingStore.etcd.deploy.enabled or controlPlane.backingStore.database.external.enabled")
	}
}

// checkStores checks that at most one backing store is on.
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

func (d *document) checkComponents(key string, k K8s) {
	d.checkVersion(key, k)
	image := k.Image
	image.Tag = "" // which is a version, and checked as such
	d.imageParts(join(key, "image"), image)
	fitsEach[corev1.EnvVar](d, join(key, "env"), k.Env)
	d.fits(join(key, "securityContext"), k.SecurityContext, new(corev1.SecurityContext))
	d.fits(join(key, "resources"), k.Resources, new(corev1.ResourceRequirements))
	for part, component := range map[string]Component{
		"apiServer":         k.APIServer,
		"controllerManager": k.ControllerManager, "scheduler": k.Scheduler,
	} {
		d.image(join(join(key, part), "image"), component.Image)
	}
}

func (d *document) checkVersion(key string, k K8s) {
	version, tag := normalVersion(k.Version), normalVersion(k.Image.Tag)
	d.version(join(key, "version"), k.Version, "")
	d.version(key+".image.tag", k.Image.Tag, "the tag is the Kubernetes version of the nodes; ")
	if version != "" && tag != "" && version != tag {
		d.add(join(key, "version"), "contradicts "+key+".image.tag, which means the same",
			"remove one of them")
	}
}

// version checks a Kubernetes version. about is put before the example.
func (d *document) version(key, value, about string) {
	switch {
	case value == "":
		return
	case isVersion(normalVersion(value)):
		d.usable(key, value)
		return
	}
	const example = `write e.g. "v1.37.2"`
	switch plain := strings.TrimPrefix(strings.ToLower(value), "v"); {
	case namesNoVersion.MatchString(plain):
		d.add(key, shown(value)+" names no version: what it stands for would change by itself, and machines with it",
			about+example)
	case shortVersion.MatchString(plain):
		d.add(key, shown(value)+" has no patch version, which a node's binaries have", about+
			fmt.Sprintf("write e.g. %q", "v"+plain+".0"))
	case value[0] == 'V' && kubernetesVersion.MatchString("v"+value[1:]):
		d.add(key, shown(value)+" is not a Kubernetes version", fmt.Sprintf("write %q", "v"+value[1:]))
	default:
		d.add(key, shown(value)+" is not a Kubernetes version", about+example)
	}
}

var (
	namesNoVersion = regexp.MustCompile(`^(latest|stable|current|newest|main|master|edge)(-[0-9.]+)?$`)
	shortVersion   = regexp.MustCompile(`^[0-9]{1,3}\.[0-9]{1,3}$`)
)
