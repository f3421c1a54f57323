package proof

// specificationKeys lists every key of the specification's configuration reference, in its order, and then every key
// that its prose sets: the overview, the scheduler, the block of unsupported options, flannel. The keys of the
// unsupported block are shown by their refusal.
func specificationKeys() []string {
	const (
		private    = "privateNodes."
		upgrade    = private + "autoUpgrade."
		join       = private + "joinNode."
		containerd = join + "containerd."
		mirror     = containerd + "registry.mirrors.<registry>."
		node       = join + "nodeRegistration."
	)
	return []string{
		private + "enabled", private + "importNodeBinaries",
		private + "kubelet.cgroupDriver",
		upgrade + "enabled", upgrade + "image", upgrade + "imagePullPolicy", upgrade + "nodeSelector",
		upgrade + "bundleRepository",
		upgrade + "binariesPath", upgrade + "cniBinariesPath", upgrade + "concurrency",
		join + "preJoinCommands", join + "postJoinCommands",
		containerd + "enabled", containerd + "registry.configPath",
		mirror + "server", mirror + "caCert", mirror + "skipVerify", mirror + "capabilities",
		mirror + "hosts[].server", mirror + "hosts[].caCert", mirror + "hosts[].skipVerify",
		mirror + "hosts[].capabilities",
		containerd + "importImages", containerd + "pauseImage",
		join + "caCertPath", join + "skipPhases",
		node + "criSocket", node + "kubeletExtraArgs[].name", node + "kubeletExtraArgs[].value",
		node + "taints[].key", node + "taints[].value", node + "taints[].effect",
		node + "ignorePreflightErrors", node + "imagePullPolicy",

		"controlPlane.distro.k8s.image.tag", "controlPlane.service.spec.type",
		"networking.podCIDR", "networking.serviceCIDR",
		"controlPlane.advanced.virtualScheduler.enabled",
		"sync.services.enabled", "sync.secrets.enabled",
		"integrations.metricsServer.enabled",
		"networking.replicateServices.enabled",
		"controlPlane.distro.k3s.enabled", "controlPlane.distro.k8s.enabled",
		"controlPlane.coredns.embedded",
		"controlPlane.advanced.hostPathMapper.enabled",
		"sleepMode.enabled",
		"experimental.isolatedControlPlane.enabled",
		private + "cni.flannel.enabled",
	}
}

// newerKeys lists every key that the original has gained or renamed since: the nodes' settings first, then those of
// addons. Keys that need the original's platform are shown by their refusal.
func newerKeys() []string {
	const (
		private = "privateNodes."
		upgrade = private + "autoUpgrade."
		join    = private + "joinNode."
		mirror  = join + "containerd.registry.mirrors.<registry>."
		auth    = join + "containerd.registry.auth.<registry>."
		daemon  = private + "daemon."
		proxy   = "deploy.kubeProxy."
		local   = "deploy.localPathProvisioner."
		metal   = "deploy.metallb."
		csi     = "deploy.csi.kubeVirt."
	)
	return []string{
		private + "kubelet.config",
		upgrade + "podSecurityContext", upgrade + "containerSecurityContext",
		join + "preInstallCommands",
		mirror + "overridePath", mirror + "hosts[].overridePath",
		auth + "username", auth + "password", auth + "identityToken", auth + "auth",
		private + "autoNodes", private + "vpn.enabled", private + "vpn.nodeToNode.enabled",
		daemon + "enabled", daemon + "controlPlaneLoadBalancer.enabled", daemon + "controlPlaneLoadBalancer.kubeProxy",
		daemon + "controlPlaneLoadBalancer.port",
		private + "defaultProfile",

		"deploy.cni.flannel.enabled", "deploy.cni.flannel.image", "deploy.cni.flannel.initImage",
		"deploy.cni.flannel.imagePullPolicy",
		proxy + "enabled", proxy + "image", proxy + "imagePullPolicy", proxy + "nodeSelector",
		proxy + "priorityClassName",
		proxy + "tolerations", proxy + "extraEnv", proxy + "extraArgs", proxy + "config",
		local + "enabled", local + "image", local + "imagePullPolicy", local + "nodePath",
		metal + "enabled", metal + "controllerImage", metal + "speakerImage", metal + "ipAddressPool.addresses",
		metal + "ipAddressPool.l2Advertisement",
		"deploy.metricsServer.enabled",
		"deploy.ingressNginx.enabled", "deploy.ingressNginx.defaultIngressClass",
		csi + "enabled", csi + "storageClass.enabled", csi + "storageClass.name", csi + "storageClass.default",
		csi + "storageClass.bus",
		"deploy.argoCD.applications",
		"deploy.volumeSnapshotController",
	}
}
