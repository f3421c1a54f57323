package config

// Networking of pods and services.
type Networking struct {
	// PodCIDR is where pods get their addresses from.
	PodCIDR string `json:"podCIDR,omitempty" example:"10.64.0.0/16"`
	// ServiceCIDR is where services get their addresses from.
	ServiceCIDR string `json:"serviceCIDR,omitempty" example:"10.128.0.0/16"`
	// ReplicateServices copies services between host and virtual cluster. It does not exist with private nodes.
	ReplicateServices Free `json:"replicateServices,omitempty" example:"{toHost: []}"`
	// ResolveDNS holds rules of the embedded CoreDNS, which does not exist with private nodes.
	ResolveDNS []Free `json:"resolveDNS,omitempty" example:"[]"`
	// Advanced settings.
	Advanced NetworkingAdvanced `json:"advanced,omitzero"`
}

// NetworkingAdvanced holds what few need.
type NetworkingAdvanced struct {
	// ClusterDomain ends every service's DNS name.
	ClusterDomain string `json:"clusterDomain,omitempty" example:"team-a.local"`
	// FallbackHostCluster asks the host cluster's DNS. It does not exist with private nodes.
	FallbackHostCluster bool `json:"fallbackHostCluster,omitempty"`
	// ProxyKubelets pretends that host nodes are the cluster's. It does not exist with private nodes.
	ProxyKubelets Free `json:"proxyKubelets,omitempty" example:"{byHostname: false}"`
}

// Deploy switches what runs in the cluster from the start.
type Deploy struct {
	// CNI is the pod network.
	CNI CNI `json:"cni,omitzero"`
	// KubeProxy routes service addresses.
	KubeProxy KubeProxy `json:"kubeProxy,omitzero"`
	// LocalPathProvisioner makes volumes of folders on the node.
	LocalPathProvisioner LocalPathProvisioner `json:"localPathProvisioner,omitzero"`
	// MetalLB gives services of type LoadBalancer an address.
	MetalLB MetalLB `json:"metallb,omitzero"`
	// MetricsServer serves kubectl top.
	MetricsServer Switch `json:"metricsServer,omitzero"`
	// IngressNginx is accepted and no longer deployed.
	IngressNginx IngressNginx `json:"ingressNginx,omitzero"`
	// CSI drivers.
	CSI CSI `json:"csi,omitzero"`
	// ArgoCD applications.
	ArgoCD ArgoCD `json:"argoCD,omitzero"`
	// VolumeSnapshotController was removed from the schema; it must be absent.
	VolumeSnapshotController any `json:"volumeSnapshotController,omitempty" example:"null"`
}

// CNI is the pod network.
type CNI struct {
	// Flannel with VXLAN.
	Flannel Flannel `json:"flannel,omitzero"`
}

// Flannel with VXLAN over the pod CIDR.
type Flannel struct {
	// Enabled deploys flannel; false leaves the pod network to the user.
	Enabled bool `json:"enabled"`
	// Image of flanneld.
	Image string `json:"image,omitempty" example:"registry.example.com/flannel:v0.26.7"`
	// InitImage carries the flannel CNI plugin.
	InitImage string `json:"initImage,omitempty" example:"registry.example.com/flannel-cni-plugin:v1.6.2-flannel1"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// KubeProxy routes service addresses on every node.
type KubeProxy struct {
	// Enabled deploys kube-proxy.
	Enabled bool `json:"enabled"`
	// Image of kube-proxy.
	Image string `json:"image,omitempty" example:"registry.example.com/kube-proxy:v1.34.4"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// NodeSelector of its pods.
	NodeSelector map[string]string `json:"nodeSelector,omitempty" example:"{zone: rack-1}"`
	// PriorityClassName of its pods.
	PriorityClassName string `json:"priorityClassName,omitempty" example:"system-node-critical"`
	// Tolerations of its pods, each a Kubernetes Toleration.
	Tolerations []Free `json:"tolerations,omitempty" example:"[{key: gpu, operator: Exists}]"`
	// ExtraEnv of its container, each a Kubernetes EnvVar.
	ExtraEnv []Free `json:"extraEnv,omitempty" example:"[{name: TZ, value: UTC}]"`
	// ExtraArgs of its container.
	ExtraArgs []string `json:"extraArgs,omitempty" example:"[\"--v=2\"]"`
	// Config is merged into the KubeProxyConfiguration.
	Config Free `json:"config,omitempty" example:"{mode: ipvs}"`
}

// LocalPathProvisioner makes volumes of folders on the node.
type LocalPathProvisioner struct {
	// Enabled deploys it with a default StorageClass.
	Enabled bool `json:"enabled"`
	// Image of the provisioner.
	Image string `json:"image,omitempty" example:"registry.example.com/local-path-provisioner:v0.0.31"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// NodePath is the folder on the node that holds the volumes.
	NodePath string `json:"nodePath,omitempty" example:"/srv/volumes"`
}

// MetalLB gives services of type LoadBalancer an address.
type MetalLB struct {
	// Enabled deploys MetalLB.
	Enabled bool `json:"enabled,omitempty"`
	// ControllerImage of MetalLB.
	ControllerImage string `json:"controllerImage,omitempty" example:"registry.example.com/metallb/controller:v0.15.2"`
	// SpeakerImage of MetalLB.
	SpeakerImage string `json:"speakerImage,omitempty" example:"registry.example.com/metallb/speaker:v0.15.2"`
	// IPAddressPool to give addresses from.
	IPAddressPool IPAddressPool `json:"ipAddressPool,omitzero"`
}

// IPAddressPool holds addresses to give away.
type IPAddressPool struct {
	// Addresses are CIDRs or ranges, e.g. 10.0.0.10-10.0.0.20.
	Addresses []string `json:"addresses,omitempty" example:"[192.0.2.100-192.0.2.120]"`
	// L2Advertisement announces them by ARP and NDP.
	L2Advertisement bool `json:"l2Advertisement"`
}

// IngressNginx is accepted and no longer deployed.
type IngressNginx struct {
	// Enabled has no effect.
	Enabled bool `json:"enabled,omitempty"`
	// DefaultIngressClass has no effect.
	DefaultIngressClass bool `json:"defaultIngressClass"`
}

// CSI drivers.
type CSI struct {
	// KubeVirt volumes.
	KubeVirt KubeVirtCSI `json:"kubeVirt,omitzero"`
}

// KubeVirtCSI gives nodes that are KubeVirt machines volumes of the host cluster.
type KubeVirtCSI struct {
	// Enabled deploys the driver.
	Enabled bool `json:"enabled,omitempty"`
	// Image of the driver.
	Image any `json:"image,omitempty" example:"null"`
	// StorageClass for its volumes.
	StorageClass KubeVirtStorageClass `json:"storageClass,omitzero"`
}

// KubeVirtStorageClass for volumes of the host cluster.
type KubeVirtStorageClass struct {
	// Enabled creates it.
	Enabled bool `json:"enabled"`
	// Name of it.
	Name string `json:"name,omitempty"`
	// Default makes it the cluster's default.
	Default bool `json:"default"`
	// Bus of the disks.
	Bus string `json:"bus,omitempty"`
	// InfraStorageClassName in the host cluster.
	InfraStorageClassName string `json:"infraStorageClassName,omitempty" example:"''"`
}

// ArgoCD applications to create.
type ArgoCD struct {
	// Applications as Argo CD knows them.
	Applications []Free `json:"applications,omitempty" example:"[]"`
}
