package config

// ControlPlane is the hosted control plane. Joining a cluster that exists already needs only its distro's version.
type ControlPlane struct {
	// Endpoint is host:port of the API server as the machines see it. Default: the service's address.
	// +effect=needs a rejoin +example=api.team-a.example.com:443
	Endpoint string `json:"endpoint,omitempty"`
	// Distro is the Kubernetes to run.
	Distro Distro `json:"distro,omitzero"`
	// BackingStore holds the cluster's state. Default: embedded SQLite.
	BackingStore BackingStore `json:"backingStore,omitzero"`
	// Proxy holds the address and port that the API server listens on.
	Proxy Proxy `json:"proxy,omitzero"`
	// Service that exposes the control plane.
	// +effect=none
	Service Service `json:"service,omitzero"`
	// Ingress that exposes the control plane.
	// +example={enabled: false}
	Ingress Unstructured `json:"ingress,omitempty"`
	// TLSRoute exposes the control plane through the Gateway API.
	// +example={enabled: false}
	TLSRoute Unstructured `json:"tlsRoute,omitempty"`
	// StatefulSet of the control plane's pods.
	StatefulSet StatefulSet `json:"statefulSet,omitzero"`
	// CoreDNS resolves names in the cluster.
	// +at=cluster +effect=applies to the addon
	CoreDNS CoreDNS `json:"coredns,omitzero"`
	// HostPathMapper does not exist with private nodes; it may not be on.
	// +example={enabled: false}
	HostPathMapper Unstructured `json:"hostPathMapper,omitempty"`
	// ServiceMonitor for Prometheus.
	// +example={enabled: false}
	ServiceMonitor Unstructured `json:"serviceMonitor,omitempty"`
	// Standalone would run the control plane as a service on a machine. It may not be on.
	// +example={enabled: false}
	Standalone Unstructured `json:"standalone,omitempty"`
	// Advanced settings.
	Advanced ControlPlaneAdvanced `json:"advanced,omitzero"`
}

// Distro is the Kubernetes to run.
type Distro struct {
	// K8s is Kubernetes itself.
	K8s K8s `json:"k8s,omitzero"`
	// K3s may not be on: nodes join with kubeadm, which needs Kubernetes itself.
	// +example={enabled: false}
	K3s Unstructured `json:"k3s,omitempty"`
	// K0s may not be on.
	// +example={enabled: false}
	K0s Unstructured `json:"k0s,omitempty"`
}

// K8s is Kubernetes itself.
type K8s struct {
	// Enabled is accepted either way: machines can join Kubernetes itself only.
	// +effect=no effect
	Enabled bool `json:"enabled"`
	// Version of Kubernetes, e.g. v1.37.2; the older spelling of image.tag. Without both, a new hosted control plane
	// gets the newest version that the release of Argosy is shown with, and keeps it; for a cluster that exists it is
	// the API server's version.
	// +example=v1.37.2
	Version string `json:"version,omitempty" format:"version"`
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
	// +example=[]
	Env []Unstructured `json:"env,omitempty"`
	// SecurityContext of the container that copies the binaries.
	// +example={}
	SecurityContext Unstructured `json:"securityContext,omitempty"`
	// Resources of the container that copies the binaries.
	// +example={}
	Resources Unstructured `json:"resources,omitempty"`
}

// Component of the control plane.
type Component struct {
	// Enabled may not be false, except for the scheduler, which runs either way.
	Enabled bool `json:"enabled"`
	// Command replaces the usual one.
	// +example=[/usr/local/bin/kube-apiserver]
	Command []string `json:"command,omitempty"`
	// ExtraArgs are added to the command, dashes included. One takes the place of Argosy's own of the same name.
	// +example=["--v=4"]
	ExtraArgs []string `json:"extraArgs,omitempty"`
	// Image of its own.
	// +example=registry.example.com/kubernetes:v1.37.2
	Image string `json:"image,omitempty"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// Image in its parts.
type Image struct {
	// Registry host.
	// +example=registry.example.com
	Registry string `json:"registry,omitempty"`
	// Repository in the registry.
	// +example=kubernetes
	Repository string `json:"repository,omitempty"`
	// Tag of the image.
	// +example=v1.37.2
	Tag string `json:"tag,omitempty"`
}

// Proxy holds the address and port that the API server itself listens on: Argosy puts no proxy in front of it.
type Proxy struct {
	// BindAddress to listen on.
	// +example='::'
	BindAddress string `json:"bindAddress,omitempty"`
	// Port of the API server in the control plane's pods.
	// +example=8443
	Port int `json:"port,omitempty" format:"port"`
	// ExtraSANs of the serving certificate: host names, whose first part may be "*", and IP addresses.
	// +example=[api.example.com, 192.0.2.10]
	ExtraSANs []string `json:"extraSANs,omitempty"`
}

// Service that exposes the control plane.
type Service struct {
	// Enabled creates it.
	Enabled bool `json:"enabled"`
	// Labels of the Service.
	// +example={team: a}
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the Service.
	// +example={metallb.io/address-pool: a}
	Annotations map[string]string `json:"annotations,omitempty"`
	// HTTPSNodePort for type NodePort; 0 lets Kubernetes choose.
	// +effect=needs a rejoin +example=30443
	HTTPSNodePort int `json:"httpsNodePort,omitempty" format:"port"`
	// KubeletNodePort belongs to shared nodes.
	// +example=0
	KubeletNodePort int `json:"kubeletNodePort,omitempty"`
	// Spec is merged into the Service's spec, a Kubernetes ServiceSpec, e.g. type: LoadBalancer.
	// +effect=needs a rejoin +example={type: LoadBalancer}
	Spec Unstructured `json:"spec,omitempty" known:"type=ClusterIP,NodePort,LoadBalancer"`
}

// CoreDNS resolves names in the cluster.
type CoreDNS struct {
	// Enabled deploys it.
	Enabled bool `json:"enabled"`
	// Embedded would run it in the control plane's pod. It may not be true.
	Embedded bool `json:"embedded,omitempty"`
	// OverwriteConfig replaces the Corefile.
	// +example=".:1053 { forward . 192.0.2.53 }"
	OverwriteConfig string `json:"overwriteConfig,omitempty"`
	// OverwriteManifests replaces the manifests.
	// +example=''
	OverwriteManifests string `json:"overwriteManifests,omitempty"`
	// PriorityClassName of its pods.
	// +example=system-cluster-critical
	PriorityClassName string `json:"priorityClassName,omitempty"`
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
	// +example={team: a}
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the Service.
	// +example={example.com/owner: team-a}
	Annotations map[string]string `json:"annotations,omitempty"`
	// Spec is merged into the Service's spec, a Kubernetes ServiceSpec.
	// +example={sessionAffinity: ClientIP}
	Spec Unstructured `json:"spec,omitempty" known:"type=ClusterIP,NodePort,LoadBalancer"`
}

// CoreDNSDeployment of CoreDNS's pods.
type CoreDNSDeployment struct {
	// Image of CoreDNS.
	// +example=registry.example.com/coredns:1.12.1
	Image string `json:"image,omitempty"`
	// Replicas of it.
	// +example=2
	Replicas int `json:"replicas,omitempty"`
	// Labels of the Deployment.
	// +example={team: a}
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the Deployment.
	// +example={example.com/owner: team-a}
	Annotations map[string]string `json:"annotations,omitempty"`
	// Pods carry these labels and annotations.
	Pods Metadata `json:"pods,omitzero"`
	// NodeSelector of its pods.
	// +example={zone: rack-1}
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Affinity of its pods, a Kubernetes Affinity.
	// +example={nodeAffinity: {}}
	Affinity Unstructured `json:"affinity,omitempty"`
	// Tolerations of its pods, each a Kubernetes Toleration.
	// +example=[{key: gpu, operator: Exists}]
	Tolerations []Unstructured `json:"tolerations,omitempty"`
	// Resources of its container.
	Resources Resources `json:"resources,omitzero"`
	// TopologySpreadConstraints of its pods, each a Kubernetes TopologySpreadConstraint.
	// +example=[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
	TopologySpreadConstraints []Unstructured `json:"topologySpreadConstraints,omitempty"`
}

// ControlPlaneAdvanced holds settings that few users need.
type ControlPlaneAdvanced struct {
	// DefaultImageRegistry stands in front of every image that is deployed for the cluster.
	// +example=registry.example.com:5000
	DefaultImageRegistry string `json:"defaultImageRegistry,omitempty"`
	// VirtualScheduler is always on with private nodes, whatever the value.
	// +effect=no effect
	VirtualScheduler VirtualScheduler `json:"virtualScheduler,omitzero"`
	// HostPathMapper does not exist with private nodes; it may not be on.
	// +example={enabled: false}
	HostPathMapper Unstructured `json:"hostPathMapper,omitempty"`
	// Konnectivity carries the API server's connections to the nodes.
	Konnectivity Konnectivity `json:"konnectivity,omitzero"`
	// CloudControllerManager sets node addresses and provider ids.
	// +effect=no effect
	CloudControllerManager CloudControllerManager `json:"cloudControllerManager,omitzero"`
	// Registry is an OCI registry in the control plane.
	Registry EmbeddedRegistry `json:"registry,omitzero"`
	// KubeVip holds a virtual address for endpoint.
	KubeVip KubeVip `json:"kubeVip,omitzero"`
	// PodDisruptionBudget of the control plane's pods.
	PodDisruptionBudget PodDisruptionBudget `json:"podDisruptionBudget,omitzero"`
	// ServiceAccount of the control plane's pods. They use none; only its imagePullSecrets count.
	ServiceAccount ServiceAccount `json:"serviceAccount,omitzero"`
	// WorkloadServiceAccount belongs to shared nodes.
	// +example={enabled: true}
	WorkloadServiceAccount Unstructured `json:"workloadServiceAccount,omitempty"`
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
	// +example=''
	Name string `json:"name,omitempty"`
	// ImagePullSecrets log in at the registries that the pods' images come from.
	// +at=control plane +effect=replaces the control plane's pods
	ImagePullSecrets []SecretName `json:"imagePullSecrets,omitempty"`
	// Labels of it.
	// +example={}
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of it.
	// +example={}
	Annotations map[string]string `json:"annotations,omitempty"`
}

// SecretName points to a Secret.
type SecretName struct {
	// Name of a Secret beside the ConfigMap.
	// +example=registry-login
	Name string `json:"name"`
}

// GlobalMetadata of everything that is created in the host cluster.
type GlobalMetadata struct {
	// Annotations of every object.
	// +example={}
	Annotations map[string]string `json:"annotations,omitempty"`
}

// VirtualScheduler is always on with private nodes.
type VirtualScheduler struct {
	// Enabled is accepted either way.
	Enabled bool `json:"enabled"`
}

// Konnectivity carries the API server's connections to the nodes.
type Konnectivity struct {
	// Enabled is the older switch for both sides.
	Enabled bool `json:"enabled"`
	// Server in the control plane.
	Server KonnectivityServer `json:"server,omitzero"`
	// Agent in the cluster.
	// +at=cluster +effect=applies to the addon
	Agent KonnectivityAgent `json:"agent,omitzero"`
}

// KonnectivityServer runs in the control plane.
type KonnectivityServer struct {
	// Enabled runs it.
	// +example=true
	Enabled bool `json:"enabled"`
	// ExtraArgs of it.
	// +example=["--v=2"]
	ExtraArgs []string `json:"extraArgs,omitempty"`
}

// KonnectivityAgent runs in the cluster.
type KonnectivityAgent struct {
	// Enabled deploys it.
	// +example=true
	Enabled bool `json:"enabled"`
	// Replicas is accepted and has no effect: every machine has an agent, so that one which loses its power takes the
	// way to no other with it.
	// +effect=no effect +example=2
	Replicas int `json:"replicas,omitempty"`
	// Image of it.
	// +example=registry.example.com/proxy-agent:v0.34.0
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
}

// CloudControllerManager sets node addresses and provider ids.
type CloudControllerManager struct {
	// Enabled is accepted either way: kubelets register their own addresses and wait for no cloud provider, so Argosy
	// runs none, and one of the user's own can be installed in the cluster.
	Enabled bool `json:"enabled"`
	// KubeOvn connects nodes to a VPC of the host cluster.
	// +example={enabled: false}
	KubeOvn Unstructured `json:"kubeOvn,omitempty"`
}

// EmbeddedRegistry is an OCI registry in the control plane.
type EmbeddedRegistry struct {
	// Enabled runs it.
	Enabled bool `json:"enabled,omitempty"`
	// AnonymousPull lets anyone pull.
	AnonymousPull bool `json:"anonymousPull"`
	// Config of the registry.
	// +example={}
	Config Unstructured `json:"config,omitempty"`
}

// KubeVip holds a virtual address.
type KubeVip struct {
	// Enabled runs it.
	Enabled bool `json:"enabled,omitempty"`
	// Interface that carries the address.
	// +example=''
	Interface string `json:"interface,omitempty"`
	// Gateway of that network.
	// +example=''
	Gateway string `json:"gateway,omitempty"`
}

// PodDisruptionBudget of the control plane's pods. There always is one, and one pod at a time may be away.
type PodDisruptionBudget struct {
	// Enabled is accepted either way.
	// +effect=no effect
	Enabled bool `json:"enabled,omitempty"`
	// MinAvailable pods, a number or a percentage; not together with maxUnavailable. It must be left out when Argosy
	// provisions the control plane.
	// +example=null
	MinAvailable any `json:"minAvailable,omitempty" format:"share"`
	// MaxUnavailable pods, a number or a percentage; not together with minAvailable. It can only be 1 when Argosy
	// provisions the control plane.
	// +example=1
	MaxUnavailable any `json:"maxUnavailable,omitempty" format:"share"`
	// UnhealthyPodEvictionPolicy is IfHealthyBudget or AlwaysAllow, which lets pods that are not ready be evicted in
	// any case. Default AlwaysAllow: a pod that crashes holds up no drain.
	// +effect=none
	UnhealthyPodEvictionPolicy string `json:"unhealthyPodEvictionPolicy,omitempty" enum:"IfHealthyBudget,AlwaysAllow"`
}
