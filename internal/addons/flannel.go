package addons

import (
	"cmp"
	"encoding/json"
	"net/netip"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

func flannel(s *site) (Addon, error) {
	settings := s.cluster.VCluster.Deploy.CNI.Flannel
	if !settings.Enabled {
		return Addon{}, nil
	}
	d := read(s, "flannel")
	d.pull("flannel", map[string]string{"flannel": settings.Image, "flannel-cni-plugin": settings.InitImage},
		settings.ImagePullPolicy)
	edit(d, "kube-flannel-cfg", func(c *corev1.ConfigMap) error {
		network, err := flannelNetwork(s.cluster.VCluster.Networking.PodCIDR, s.cluster.Fleet.Flannel)
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
		if name := s.cluster.Fleet.Flannel.Interface; name != "" {
			pod.Containers[0].Args = config.MergeArguments(pod.Containers[0].Args, []string{"--iface=" + name})
		}
		host, port, err := s.apiServer()
		pod.Containers[0].Env = append(pod.Containers[0].Env,
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: host},
			corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: port})
		return err
	})
	d.restartWith("kube-flannel-cfg")
	return d.addon()
}

// flannelNetwork writes flannel's network for the pods' network, which is of one family.
func flannelNetwork(podCIDR string, settings config.FlannelNetwork) (string, error) {
	prefix, err := netip.ParsePrefix(podCIDR)
	if err != nil {
		return "", errclass.Errorf(errclass.Configuration, "reading networking.podCIDR: %w", err)
	}
	backend := map[string]any{"Type": cmp.Or(settings.Backend, config.FlannelVXLAN)}
	if settings.Port != 0 {
		backend["Port"] = settings.Port
	}
	network := map[string]any{"Network": prefix.String(), "Backend": backend}
	if prefix.Addr().Is6() {
		delete(network, "Network")
		network["IPv6Network"], network["EnableIPv6"], network["EnableIPv4"] = prefix.String(), true, false
	}
	content, err := json.MarshalIndent(network, "", "  ")
	return string(content) + "\n", err
}
