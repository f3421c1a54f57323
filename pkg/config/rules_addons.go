package config

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// checkAddons checks section deploy and kubeOvn.
func (d *document) checkAddons(v *VCluster) {
	d.checkFlannel("deploy.cni.flannel", v.Deploy.CNI.Flannel)
	d.checkKubeProxy("deploy.kubeProxy", v.Deploy.KubeProxy)
	d.checkLocalPath("deploy.localPathProvisioner", v.Deploy.LocalPathProvisioner)
	d.checkMetalLB("deploy.metallb", v.Deploy.MetalLB)
	kubeVirt := v.Deploy.CSI.KubeVirt
	if kubeVirt.Enabled && kubeVirt.StorageClass.Enabled && kubeVirt.StorageClass.Default &&
		v.Deploy.LocalPathProvisioner.Enabled {
		d.add("deploy.csi.kubeVirt",
			"its StorageClass and that of deploy.localPathProvisioner would both be the default",
			"set deploy.localPathProvisioner.enabled: false, or deploy.csi.kubeVirt.storageClass.default: false")
	}
	d.checkKubeOvn()
}

func (d *document) checkFlannel(key string, f Flannel) {
	d.image(join(key, "image"), f.Image)
	d.image(join(key, "initImage"), f.InitImage)
}

func (d *document) checkKubeProxy(key string, k KubeProxy) {
	d.image(join(key, "image"), k.Image)
	d.scheduling(key, Scheduling{
		NodeSelector: k.NodeSelector, Tolerations: k.Tolerations,
		PriorityClassName: k.PriorityClassName,
	})
	fitsEach[corev1.EnvVar](d, join(key, "extraEnv"), k.ExtraEnv)
}

func (d *document) checkLocalPath(key string, l LocalPathProvisioner) {
	d.image(join(key, "image"), l.Image)
	d.absolute(join(key, "nodePath"), l.NodePath)
}

func (d *document) checkMetalLB(key string, m MetalLB) {
	d.image(join(key, "controllerImage"), m.ControllerImage)
	d.image(join(key, "speakerImage"), m.SpeakerImage)
	for i, addresses := range m.IPAddressPool.Addresses {
		d.addressRange(fmt.Sprintf("%s.ipAddressPool.addresses[%d]", key, i), addresses)
	}
}

// addressRange checks a network, or two addresses of one family with a hyphen between them, the lower one first.
func (d *document) addressRange(key, value string) {
	if _, err := netip.ParsePrefix(value); err == nil {
		return
	}
	from, to, _ := strings.Cut(value, "-")
	first, errFirst := netip.ParseAddr(strings.TrimSpace(from))
	last, errLast := netip.ParseAddr(strings.TrimSpace(to))
	if errFirst != nil || errLast != nil || first.Is4() != last.Is4() || last.Less(first) {
		d.add(key, shown(value)+" is neither a network nor a range of addresses",
			`write e.g. "10.0.0.0/28" or "10.0.0.10-10.0.0.20"`)
	}
}

// checkKubeOvn checks that the settings are there which connecting nodes to a VPC needs.
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
			d.add("networking.podCIDR", "is missing: "+key+".podRoutes needs it", `write e.g. podCIDR: "10.64.0.0/16"`)
		}
	}
	for _, need := range needs {
		if value := ovn.find(need); value == nil || value.text == "" {
			d.add(key+"."+need, "is missing", "name it, or set enabled: false")
		}
	}
}
