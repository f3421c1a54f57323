package addons

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

func metricsServer(s *site) (Addon, error) {
	if !s.cluster.VCluster.Deploy.MetricsServer.Enabled {
		return Addon{}, nil
	}
	d := read(s, "metrics-server")
	d.pull("metrics-server", nil, "")
	edit(d, "metrics-server", func(deployment *appsv1.Deployment) error {
		container := &deployment.Spec.Template.Spec.Containers[0]
		container.Args = append(container.Args, s.kubeletTLS())
		return nil
	})
	return d.addon()
}

// kubeletTLS returns the argument by which metrics-server verifies kubelets where the API server does. Where
// privateNodes.kubelet.config.serverTLSBootstrap is false, a kubelet signs its serving certificate itself: an attacker
// who takes a node's address on the machines' network can fake its metrics, and gets metrics-server's token, which may
// read nodes, pods and metrics.
func (s *site) kubeletTLS() string {
	if s.facts.VerifiesKubelets {
		return "--kubelet-certificate-authority=/var/run/secrets/kubernetes.io/serviceaccount/" +
			corev1.ServiceAccountRootCAKey
	}
	return "--kubelet-insecure-tls"
}
