package addons

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/fault"
)

func flannel(s *site) (Addon, error) {
	settings := s.cluster.VCluster.Deploy.CNI.Flannel
	if !settings.Enabled {
		return Addon{}, nil
	}
	d := read(s, "flannel")
	d.pull("flannel", map[string]string{"flannel": settings.Image, "flannel-cni-plugin": settings.InitImage}, settings.ImagePullPolicy)
	edit(d, "kube-flannel-cfg", func(c *corev1.ConfigMap) error {
		network, err := flannelNetwork(s.cluster.VCluster.Networking.PodCIDR)
		c.Data["net-conf.json"] = network
		return err
	})
	edit(d, "kube-flannel-ds", func(set *appsv1.DaemonSet) error {
		pod := &set.Spec.Template.Spec
		for i := range pod.Volumes {
			if pod.Volumes[i].Name == "cni-plugins" {
				pod.Volumes[i].HostPath.Path = s.cluster.VCluster.PrivateNodes.AutoUpgrade.CNIBinariesPath
			}
		}
		host, port, err := s.apiServer()
		pod.Containers[0].Env = append(pod.Containers[0].Env,
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: host}, corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: port})
		return err
	})
	d.restartWith("kube-flannel-cfg")
	return d.addon()
}

// flannelNetwork writes flannel's network for the pods' one or two networks.
func flannelNetwork(podCIDR string) (string, error) {
	type backend struct {
		Type string
	}
	network := struct {
		Network     string `json:",omitempty"`
		IPv6Network string `json:",omitempty"`
		EnableIPv4  bool
		EnableIPv6  bool
		Backend     backend
	}{Backend: backend{Type: "vxlan"}}
	for part := range strings.SplitSeq(podCIDR, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return "", fault.As(fault.Configuration, fmt.Errorf("reading networking.podCIDR: %w", err))
		}
		if prefix.Addr().Is4() {
			network.Network, network.EnableIPv4 = prefix.String(), true
		} else {
			network.IPv6Network, network.EnableIPv6 = prefix.String(), true
		}
	}
	content, err := json.MarshalIndent(network, "", "  ")
	return string(content) + "\n", err
}
