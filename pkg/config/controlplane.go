package config

// ControlPlane is the hosted control plane. Joining a cluster that exists already needs only its distro's version.
type ControlPlane struct {
	// Endpoint is host:port of the API server as the machines see it. Default: the service's address.
	Endpoint string `json:"endpoint,omitempty" effect:"needs a rejoin" example:"api.team-a.example.com:443"`
	// Distro is the Kubernetes to run.
	Distro Distro `json:"distro,omitzero"`
	// BackingStore holds the cluster's state. Default: embedded SQLite.
	BackingStore BackingStore `json:"backingStore,omitzero"`
	// Proxy holds what the API server listens on.
	Proxy Proxy `json:"proxy,omitzero"`
	// Service that exposes the control plane.
	Service Service `json:"service,omitzero" effect:"none"`
	// Ingress that exposes the control plane.
	Ingress Free `json:"ingress,omitempty" example:"{enabled: false}"`
	// TLSRoute exposes the control plane through the Gateway API.
	TLSRoute Free `json:"tlsRoute,omitempty" example:"{enabled: false}"`
	// StatefulSet of the control plane's pods.
	StatefulSet StatefulSet `json:"statefulSet,omitzero"`
	// CoreDNS resolves names in the cluster.
	CoreDNS CoreDNS `json:"coredns,omitzero" effect:"applies to the addon" at:"cluster"`
	// HostPathMapper does not exist with private nodes; it may not be on.
	HostPathMapper Free `json:"hostPathMapper,omitempty" example:"{enabled: false}"`
	// ServiceMonitor for Prometheus.
	ServiceMonitor Free `json:"serviceMonitor,omitempty" example:"{enabled: false}"`
	// Standalone would run the control plane as a service on a machine. It may not be on.
	Standalone Free `json:"standalone,omitempty" example:"{enabled: false}"`
	// Advanced settings.
	Advanced ControlPlaneAdvanced `json:"advanced,omitzero"`
}

// Distro is the Kubernetes to run.
type Distro struct {
	// K8s is Kubernetes itself.
	K8s K8s `json:"k8s,omitzero"`
	// K3s may not be on: nodes join with kubeadm, which needs Kubernetes itself.
	K3s Free `json:"k3s,omitempty" example:"{enabled: false}"`
	// K0s may not be on.
	K0s Free `json:"k0s,omitempty" example:"{enabled: false}"`
}

// K8s is Kubernetes itself.
type K8s struct {
	// Enabled may not be false.
	Enabled bool `json:"enabled"`
	// Version of Kubernetes, e.g. v1.34.4; the older spelling of image.tag.
	Version string `json:"version,omitempty" example:"v1.34.4"`
	// Image with the control plane's binaries; its tag is the Kubernetes version.
	Image Image `json:"image,omitzero"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// APIServer settings.
	APIServer Component `json:"apiServer,omitzero"`
	// ControllerManager settings.
	ControllerManager Component `json:"controllerManager,omitzero"`
	// Scheduler settings.
	Scheduler Component `json:"scheduler,omitzero"`
	// Env of the control plane's containers, each a Kubernetes EnvVar.
	Env []Free `json:"env,omitempty" example:"[]"`
	// SecurityContext of the container that copies the binaries.
	SecurityContext Free `json:"securityContext,omitempty" example:"{}"`
	// Resources of the container that copies the binaries.
	Resources Free `json:"resources,omitempty" example:"{}"`
}

// Component of the control plane.
type Component struct {
	// Enabled may not be false.
	Enabled bool `json:"enabled"`
	// Command replaces the usual one.
	Command []string `json:"command,omitempty" example:"[/usr/local/bin/kube-apiserver]"`
	// ExtraArgs are added to the command, dashes included.
	ExtraArgs []string `json:"extraArgs,omitempty" example:"[\"--v=4\"]"`
	// Image of its own.
	Image string `json:"image,omitempty" example:"registry.example.com/kubernetes:v1.34.4"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// Image in its parts.
type Image struct {
	// Registry host.
	Registry string `json:"registry,omitempty" example:"registry.example.com"`
	// Repository in the registry.
	Repository string `json:"repository,omitempty" example:"kubernetes"`
	// Tag of the image.
	Tag string `json:"tag,omitempty" example:"v1.34.4"`
}

// Proxy holds what the API server itself listens on: Argosy puts no proxy in front of it.
type Proxy struct {
	// BindAddress to listen on.
	BindAddress string `json:"bindAddress,omitempty" example:"'::'"`
	// Port of the API server in the control plane's pods.
	Port int `json:"port,omitempty" example:"8443"`
	// ExtraSANs of the serving certificate: host names and IP addresses.
	ExtraSANs []string `json:"extraSANs,omitempty" example:"[api.example.com, 192.0.2.10]"`
}

// Service that exposes the control plane.
type Service struct {
	// Enabled creates it.
	Enabled bool `json:"enabled"`
	// Labels of the Service.
	Labels map[string]string `json:"labels,omitempty" example:"{team: a}"`
	// Annotations of the Service.
	Annotations map[string]string `json:"annotations,omitempty" example:"{metallb.io/address-pool: a}"`
	// HTTPSNodePort for type NodePort; 0 lets Kubernetes choose.
	HTTPSNodePort int `json:"httpsNodePort,omitempty" effect:"needs a rejoin" example:"30443"`
	// KubeletNodePort belongs to shared nodes.
	KubeletNodePort int `json:"kubeletNodePort,omitempty" example:"0"`
	// Spec is merged into the Service's spec, a Kubernetes ServiceSpec, e.g. type: LoadBalancer.
	Spec Free `json:"spec,omitempty" effect:"needs a rejoin" example:"{type: LoadBalancer}"`
}

// CoreDNS resolves names in the cluster.
type CoreDNS struct {
	// Enabled deploys it.
	Enabled bool `json:"enabled"`
	// Embedded would run it in the control plane's pod. It may not be true.
	Embedded bool `json:"embedded,omitempty"`
	// OverwriteConfig replaces the Corefile.
	OverwriteConfig string `json:"overwriteConfig,omitempty" example:"\".:1053 { forward . 192.0.2.53 }\""`
	// OverwriteManifests replaces the manifests.
	OverwriteManifests string `json:"overwriteManifests,omitempty" example:"''"`
	// PriorityClassName of its pods.
	PriorityClassName string `json:"priorityClassName,omitempty" example:"system-cluster-critical"`
	// Security contexts of its pods.
	Security Security `json:"security,omitzero"`
	// Service in front of it.
	Service CoreDNSService `json:"service,omitzero"`
	// Deployment of its pods.
	Deployment CoreDNSDeployment `json:"deployment,omitzero"`
}

// CoreDNSService in front of CoreDNS's pods.
type CoreDNSService struct {
	// Labels of the Service.
	Labels map[string]string `json:"labels,omitempty" example:"{team: a}"`
	// Annotations of the Service.
	Annotations map[string]string `json:"annotations,omitempty" example:"{example.com/owner: team-a}"`
	// Spec is merged into the Service's spec, a Kubernetes ServiceSpec.
	Spec Free `json:"spec,omitempty" example:"{sessionAffinity: ClientIP}"`
}

// CoreDNSDeployment of CoreDNS's pods.
type CoreDNSDeployment struct {
	// Image of CoreDNS.
	Image string `json:"image,omitempty" example:"registry.example.com/coredns:1.12.1"`
	// Replicas of it.
	Replicas int `json:"replicas,omitempty" example:"2"`
	// Labels of the Deployment.
	Labels map[string]string `json:"labels,omitempty" example:"{team: a}"`
	// Annotations of the Deployment.
	Annotations map[string]string `json:"annotations,omitempty" example:"{example.com/owner: team-a}"`
	// Pods carry these labels and annotations.
	Pods Metadata `json:"pods,omitzero"`
	// NodeSelector of its pods.
	NodeSelector map[string]string `json:"nodeSelector,omitempty" example:"{zone: rack-1}"`
	// Affinity of its pods, a Kubernetes Affinity.
	Affinity Free `json:"affinity,omitempty" example:"{nodeAffinity: {}}"`
	// Tolerations of its pods, each a Kubernetes Toleration.
	Tolerations []Free `json:"tolerations,omitempty" example:"[{key: gpu, operator: Exists}]"`
	// Resources of its container.
	Resources Resources `json:"resources,omitzero"`
	// TopologySpreadConstraints of its pods, each a Kubernetes TopologySpreadConstraint.
	TopologySpreadConstraints []Free `json:"topologySpreadConstraints,omitempty" example:"[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]"`
}

// ControlPlaneAdvanced holds what few need.
type ControlPlaneAdvanced struct {
	// DefaultImageRegistry stands in front of every image that is deployed for the cluster.
	DefaultImageRegistry string `json:"defaultImageRegistry,omitempty" example:"registry.example.com:5000"`
	// VirtualScheduler is always on with private nodes; it may not be false.
	VirtualScheduler VirtualScheduler `json:"virtualScheduler,omitzero"`
	// HostPathMapper does not exist with private nodes; it may not be on.
	HostPathMapper Free `json:"hostPathMapper,omitempty" example:"{enabled: false}"`
	// Konnectivity carries the API server's connections to the nodes.
	Konnectivity Konnectivity `json:"konnectivity,omitzero"`
	// CloudControllerManager sets node addresses and provider ids.
	CloudControllerManager CloudControllerManager `json:"cloudControllerManager,omitzero" effect:"no effect"`
	// Registry is an OCI registry in the control plane.
	Registry EmbeddedRegistry `json:"registry,omitzero"`
	// KubeVip holds a virtual address for endpoint.
	KubeVip KubeVip `json:"kubeVip,omitzero"`
	// PodDisruptionBudget of the control plane's pods.
	PodDisruptionBudget PodDisruptionBudget `json:"podDisruptionBudget,omitzero" effect:"no effect"`
	// ServiceAccount of the control plane's pods. They use none; only its imagePullSecrets count.
	ServiceAccount ServiceAccount `json:"serviceAccount,omitzero"`
	// WorkloadServiceAccount belongs to shared nodes.
	WorkloadServiceAccount Free `json:"workloadServiceAccount,omitempty" example:"{enabled: true}"`
	// HeadlessService that gives the control plane's pods names.
	HeadlessService Metadata `json:"headlessService,omitzero"`
	// GlobalMetadata is put on everything that is created in the host cluster.
	GlobalMetadata GlobalMetadata `json:"globalMetadata,omitzero"`
}

// ServiceAccount of the control plane's pods.
type ServiceAccount struct {
	// Enabled creates it.
	Enabled bool `json:"enabled"`
	// Name of it. Default: the cluster's name.
	Name string `json:"name,omitempty" example:"''"`
	// ImagePullSecrets log in at the registries that the pods' images come from.
	ImagePullSecrets []SecretName `json:"imagePullSecrets,omitempty" effect:"replaces the control plane's pods" at:"control plane"`
	// Labels of it.
	Labels map[string]string `json:"labels,omitempty" example:"{}"`
	// Annotations of it.
	Annotations map[string]string `json:"annotations,omitempty" example:"{}"`
}

// SecretName points to a Secret.
type SecretName struct {
	// Name of a Secret beside the ConfigMap.
	Name string `json:"name" example:"registry-login"`
}

// GlobalMetadata of everything that is created in the host cluster.
type GlobalMetadata struct {
	// Annotations of every object.
	Annotations map[string]string `json:"annotations,omitempty" example:"{}"`
}

// VirtualScheduler is always on with private nodes.
type VirtualScheduler struct {
	// Enabled may not be false.
	Enabled bool `json:"enabled"`
}

// Konnectivity carries the API server's connections to the nodes.
type Konnectivity struct {
	// Enabled is the older switch for both sides.
	Enabled bool `json:"enabled"`
	// Server in the control plane.
	Server KonnectivityServer `json:"server,omitzero"`
	// Agent in the cluster.
	Agent KonnectivityAgent `json:"agent,omitzero" effect:"applies to the addon" at:"cluster"`
}

// KonnectivityServer runs in the control plane.
type KonnectivityServer struct {
	// Enabled runs it.
	Enabled bool `json:"enabled" example:"true"`
	// ExtraArgs of it.
	ExtraArgs []string `json:"extraArgs,omitempty" example:"[\"--v=2\"]"`
}

// KonnectivityAgent runs in the cluster.
type KonnectivityAgent struct {
	// Enabled deploys it.
	Enabled bool `json:"enabled" example:"true"`
	// Replicas of it.
	Replicas int `json:"replicas,omitempty" example:"2"`
	// Image of it.
	Image string `json:"image,omitempty" example:"registry.example.com/proxy-agent:v0.34.0"`
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
}

// CloudControllerManager sets node addresses and provider ids.
type CloudControllerManager struct {
	// Enabled is accepted either way: kubelets register their own addresses and wait for no cloud provider, so Argosy
	// runs none, and one of the user's own can be installed in the cluster.
	Enabled bool `json:"enabled"`
	// KubeOvn connects nodes to a VPC of the host cluster.
	KubeOvn Free `json:"kubeOvn,omitempty" example:"{enabled: false}"`
}

// EmbeddedRegistry is an OCI registry in the control plane.
type EmbeddedRegistry struct {
	// Enabled runs it.
	Enabled bool `json:"enabled,omitempty"`
	// AnonymousPull lets anyone pull.
	AnonymousPull bool `json:"anonymousPull"`
	// Config of the registry.
	Config Free `json:"config,omitempty" example:"{}"`
}

// KubeVip holds a virtual address.
type KubeVip struct {
	// Enabled runs it.
	Enabled bool `json:"enabled,omitempty"`
	// Interface that carries the address.
	Interface string `json:"interface,omitempty" example:"''"`
	// Gateway of that network.
	Gateway string `json:"gateway,omitempty" example:"''"`
}

// PodDisruptionBudget of the control plane's pods. There always is one, and one pod at a time may be away.
type PodDisruptionBudget struct {
	// Enabled is accepted either way.
	Enabled bool `json:"enabled,omitempty"`
	// MinAvailable pods, a number or a percentage; not together with maxUnavailable. It must be left out when Argosy
	// provisions the control plane.
	MinAvailable any `json:"minAvailable,omitempty" example:"null"`
	// MaxUnavailable pods, a number or a percentage; not together with minAvailable. It can only be 1 when Argosy
	// provisions the control plane.
	MaxUnavailable any `json:"maxUnavailable,omitempty" example:"1"`
}
