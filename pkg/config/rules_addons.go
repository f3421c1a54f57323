package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
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

// interfaceName is the name of a network interface, of which Linux keeps 15 letters.
var interfaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,14}$`)

// checkFlannelNetwork checks section flannel of argosy.yaml.
func (d *document) checkFlannelNetwork(c *Cluster) {
	f := c.Fleet.Flannel
	d.port("flannel.port", f.Port)
	d.match("flannel.interface", f.Interface, interfaceName, "the name of a network interface", `write e.g. "eth1"`)
	if f.Backend == FlannelHostGW && f.Port != 0 {
		d.add("flannel.port", fmt.Sprintf("%d is for vxlan; host-gw has no port", f.Port), "remove it")
	}
	switch set := f != defaultFleet().Flannel; {
	case set && !c.Hosted():
		c.Remarks = append(c.Remarks, d.name+": flannel has no effect, since cluster.kubeconfigSecret names a cluster "+
			"whose addons are not Argosy's")
	case set && !c.VCluster.Deploy.CNI.Flannel.Enabled:
		d.add("flannel", "has no effect: deploy.cni.flannel.enabled of vcluster.yaml is false", "remove it")
	}
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

// checkPool checks that MetalLB gives away no address that a machine or the control plane has: two hosts would answer
// for it.
func (c *Cluster) checkPool(v *document) {
	pool := c.VCluster.Deploy.MetalLB
	if !pool.Enabled {
		return
	}
	for i, addresses := range pool.IPAddressPool.Addresses {
		first, last, ok := rangeOf(addresses)
		if !ok {
			continue
		}
		for _, used := range c.fixedAddresses() {
			if used.address.Is4() == first.Is4() && !used.address.Less(first) && !last.Less(used.address) {
				v.add(fmt.Sprintf("deploy.metallb.ipAddressPool.addresses[%d]", i),
					fmt.Sprintf("%s holds %s, which is %s", shown(addresses), used.address, used.by),
					"choose addresses that nothing has, e.g. the end of the network")
				break
			}
		}
	}
}

// usedAddress is an address that something has, in words.
type usedAddress struct {
	address netip.Addr
	by      string
}

// fixedAddresses returns the addresses of the machines and of the control plane, as far as the documents have them.
func (c *Cluster) fixedAddresses() []usedAddress {
	var used []usedAddress
	add := func(host, by string) {
		if address, err := netip.ParseAddr(host); err == nil {
			used = append(used, usedAddress{address.Unmap().WithZone(""), by})
		}
	}
	for _, m := range c.Fleet.Machines {
		add(m.Address, "the address of machine "+shown(m.Name))
	}
	host, _, _ := net.SplitHostPort(c.VCluster.ControlPlane.Endpoint)
	add(host, "the address of controlPlane.endpoint")
	return used
}

// rangeOf returns the first and the last address of a network or a range.
func rangeOf(addresses string) (first, last netip.Addr, ok bool) {
	if network, err := netip.ParsePrefix(addresses); err == nil {
		bytes := network.Masked().Addr().AsSlice()
		for bit := network.Bits(); bit < len(bytes)*8; bit++ {
			bytes[bit/8] |= 1 << (7 - bit%8)
		}
		last, _ = netip.AddrFromSlice(bytes)
		return network.Masked().Addr(), last, true
	}
	from, to, _ := strings.Cut(addresses, "-")
	first, errFirst := netip.ParseAddr(strings.TrimSpace(from))
	last, errLast := netip.ParseAddr(strings.TrimSpace(to))
	return first, last, errFirst == nil && errLast == nil
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
