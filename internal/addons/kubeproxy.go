package addons

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

const kubeProxyKey = "deploy.kubeProxy"

func kubeProxy(s *site) (Addon, error) {
	settings := s.cluster.VCluster.Deploy.KubeProxy
	if !settings.Enabled {
		return Addon{}, nil
	}
	d := read(s, "kube-proxy")
	d.pull("kube-proxy", map[string]string{"kube-proxy": settings.Image}, settings.ImagePullPolicy)
	edit(d, "kube-proxy", func(c *corev1.ConfigMap) (err error) {
		if c.Data["config.conf"], err = kubeProxyConfig(s.cluster, c.Data["config.conf"]); err != nil {
			return err
		}
		c.Data["kubeconfig.conf"], err = kubeProxyKubeconfig(s.facts)
		return err
	})
	edit(d, "kube-proxy", func(set *appsv1.DaemonSet) error {
		pod := &set.Spec.Template.Spec
		for _, container := range containers(pod) {
			if err := extend(kubeProxyKey, container, settings.ExtraArgs, settings.ExtraEnv); err != nil {
				return err
			}
		}
		return scheduling{
			kubeProxyKey, settings.NodeSelector, settings.Tolerations,
			settings.PriorityClassName,
		}.apply(pod)
	})
	d.restartWith("kube-proxy")
	return d.addon()
}

// kubeProxyConfig completes the manifest's KubeProxyConfiguration: the pods' network, and over it the documents'
// settings.
func kubeProxyConfig(cluster *config.Cluster, manifest string) (string, error) {
	wanted := cluster.VCluster.Deploy.KubeProxy.Config
	fields := map[string]any{}
	if err := yaml.Unmarshal([]byte(manifest), &fields); err != nil {
		return "", fmt.Errorf("reading config.conf of manifest kube-proxy: %w", err)
	}
	fields["clusterCIDR"] = cluster.VCluster.Networking.PodCIDR
	if cluster.VCluster.Deploy.MetalLB.Enabled && wanted["mode"] == "ipvs" {
		// In that mode every machine would answer ARP for the addresses that MetalLB gives to one.
		fields["ipvs"] = map[string]any{"strictARP": true}
	}
	fields = overlay(fields, wanted)
	if err := decode(kubeProxyKey+".config", fields, &kubeproxyv1alpha1.KubeProxyConfiguration{}); err != nil {
		return "", err
	}
	content, err := yaml.Marshal(fields)
	return string(content), err
}

// kubeProxyKubeconfig connects kube-proxy as its service account to the API server's own address: the Service's address
// works only once kube-proxy does. The authority is in it rather than in a file, so that a new one restarts kube-proxy.
func kubeProxyKubeconfig(facts Facts) (string, error) {
	if facts.CACert == "" || facts.Server == "" {
		return "", errclass.Errorf(errclass.Permanent, "kube-proxy's kubeconfig needs the API server's address and "+
			"its authority")
	}
	const name = "default"
	content, err := clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   facts.Server,
			CertificateAuthorityData: []byte(facts.CACert),
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token",
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
	return string(content), err
}
