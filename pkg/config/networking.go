package config

// Networking of pods and services.
type Networking struct {
	// PodCIDR is where pods get their addresses from.
	// +example=10.64.0.0/16
	PodCIDR string `json:"podCIDR,omitempty" format:"networks"`
	// ServiceCIDR is where services get their addresses from.
	// +example=10.128.0.0/16
	ServiceCIDR string `json:"serviceCIDR,omitempty" format:"networks"`
	// ReplicateServices copies services between host and virtual cluster. It does not exist with private nodes.
	// +example={toHost: []}
	ReplicateServices Unstructured `json:"replicateServices,omitempty"`
	// ResolveDNS holds rules of the embedded CoreDNS, which does not exist with private nodes.
	// +example=[]
	ResolveDNS []Unstructured `json:"resolveDNS,omitempty"`
	// Advanced settings.
	Advanced NetworkingAdvanced `json:"advanced,omitzero"`
}

// NetworkingAdvanced holds settings that few users need.
type NetworkingAdvanced struct {
	// ClusterDomain ends every service's DNS name.
	// +example=team-a.local
	ClusterDomain string `json:"clusterDomain,omitempty"`
	// FallbackHostCluster asks the host cluster's DNS. It does not exist with private nodes.
	FallbackHostCluster bool `json:"fallbackHostCluster,omitempty"`
	// ProxyKubelets pretends that host nodes are the cluster's. It does not exist with private nodes.
	// +example={byHostname: false}
	ProxyKubelets Unstructured `json:"proxyKubelets,omitempty"`
}

// Deploy switches the addons that run in the cluster from the start.
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
	// VolumeSnapshotController was removed from the schema; it may not be on.
	// +example=null
	VolumeSnapshotController any `json:"volumeSnapshotController,omitempty"`
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
	// +example=registry.example.com/flannel:v0.28.10
	Image string `json:"image,omitempty"`
	// InitImage carries the flannel CNI plugin.
	// +example=registry.example.com/flannel-cni-plugin:v1.9.1-flannel3
	InitImage string `json:"initImage,omitempty"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// KubeProxy routes service addresses on every node.
type KubeProxy struct {
	// Enabled deploys kube-proxy.
	Enabled bool `json:"enabled"`
	// Image of kube-proxy.
	// +example=registry.example.com/kube-proxy:v1.37.2
	Image string `json:"image,omitempty"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// NodeSelector of its pods.
	// +example={zone: rack-1}
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// PriorityClassName of its pods.
	// +example=system-node-critical
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// Tolerations of its pods, each a Kubernetes Toleration.
	// +example=[{key: gpu, operator: Exists}]
	Tolerations []Unstructured `json:"tolerations,omitempty"`
	// ExtraEnv of its container, each a Kubernetes EnvVar.
	// +example=[{name: TZ, value: UTC}]
	ExtraEnv []Unstructured `json:"extraEnv,omitempty"`
	// ExtraArgs of its container.
	// +example=["--v=2"]
	ExtraArgs []string `json:"extraArgs,omitempty"`
	// Config is merged into the KubeProxyConfiguration.
	// +example={mode: ipvs}
	Config Unstructured `json:"config,omitempty"`
}

// LocalPathProvisioner makes volumes of folders on the node.
type LocalPathProvisioner struct {
	// Enabled deploys it with a default StorageClass.
	Enabled bool `json:"enabled"`
	// Image of the provisioner.
	// +example=registry.example.com/local-path-provisioner:v0.0.37
	Image string `json:"image,omitempty"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// NodePath is the folder on the node that holds the volumes.
	// +example=/srv/volumes
	NodePath string `json:"nodePath,omitempty" format:"path"`
}

// MetalLB gives services of type LoadBalancer an address.
type MetalLB struct {
	// Enabled deploys MetalLB.
	Enabled bool `json:"enabled,omitempty"`
	// ControllerImage of MetalLB.
	// +example=registry.example.com/metallb/controller:v0.15.2
	ControllerImage string `json:"controllerImage,omitempty"`
	// SpeakerImage of MetalLB.
	// +example=registry.example.com/metallb/speaker:v0.15.2
	SpeakerImage string `json:"speakerImage,omitempty"`
	// IPAddressPool to give addresses from.
	IPAddressPool IPAddressPool `json:"ipAddressPool,omitzero"`
}

// IPAddressPool holds addresses to give away.
type IPAddressPool struct {
	// Addresses are CIDRs or ranges, e.g. 10.0.0.10-10.0.0.20.
	// +example=[192.0.2.100-192.0.2.120]
	Addresses []string `json:"addresses,omitempty"`
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
	// +example=null
	Image any `json:"image,omitempty"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// HostLabels are put on the volumes' objects in the host cluster.
	// +example={}
	HostLabels map[string]string `json:"hostLabels,omitempty"`
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
	// +example=''
	InfraStorageClassName string `json:"infraStorageClassName,omitempty"`
	// HostStorageClassName is the newer name of infraStorageClassName.
	// +example=''
	HostStorageClassName string `json:"hostStorageClassName,omitempty"`
	// HostVolumeMode is Filesystem or Block.
	HostVolumeMode string `json:"hostVolumeMode,omitempty" enum:"Filesystem,Block"`
}

// ArgoCD applications to create.
type ArgoCD struct {
	// Applications as Argo CD knows them.
	// +example=[]
	Applications []Unstructured `json:"applications,omitempty"`
}
