package config

// StatefulSet of the control plane's pods.
type StatefulSet struct {
	// HighAvailability of the control plane.
	HighAvailability HighAvailability `json:"highAvailability,omitzero"`
	// Image of the original's own program, which Argosy does not run. It must be empty.
	Image Image `json:"image,omitzero"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// Labels of the StatefulSet.
	// +effect=none +example={team: a}
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the StatefulSet.
	// +effect=none +example={example.com/owner: team-a}
	Annotations map[string]string `json:"annotations,omitempty"`
	// Pods carry these labels and annotations.
	Pods Metadata `json:"pods,omitzero"`
	// Resources of the main container, which is the API server's.
	Resources Resources `json:"resources,omitzero"`
	// Scheduling of the pods.
	Scheduling Scheduling `json:"scheduling,omitzero"`
	// Security contexts of the pods.
	Security Security `json:"security,omitzero"`
	// Persistence of the embedded database.
	Persistence Persistence `json:"persistence,omitzero"`
	// Probes of the main container, which is the API server's.
	Probes Probes `json:"probes,omitzero"`
	// EnableServiceLinks puts services into the environment.
	EnableServiceLinks bool `json:"enableServiceLinks,omitempty"`
	// WorkingDir of the main container.
	// +example=/tmp
	WorkingDir string `json:"workingDir,omitempty"`
	// Command of the original's own program. It must be empty.
	// +example=[]
	Command []string `json:"command,omitempty"`
	// Args of the original's own program. They must be empty.
	// +example=[]
	Args []string `json:"args,omitempty"`
	// Env of the main container, each a Kubernetes EnvVar.
	// +example=[{name: TZ, value: UTC}]
	Env []Unstructured `json:"env,omitempty"`
	// DNSPolicy of the pods.
	DNSPolicy string `json:"dnsPolicy,omitempty" enum:"ClusterFirst,ClusterFirstWithHostNet,Default,None"`
	// DNSConfig of the pods, a Kubernetes PodDNSConfig.
	// +example={nameservers: [192.0.2.53]}
	DNSConfig Unstructured `json:"dnsConfig,omitempty"`
	// InitContainers run first, each a Kubernetes Container.
	// +example=[{name: prepare, image: registry.example.com/prepare:v1}]
	InitContainers []Unstructured `json:"initContainers,omitempty"`
	// SidecarContainers run beside, each a Kubernetes Container.
	// +example=[{name: audit, image: registry.example.com/audit:v1}]
	SidecarContainers []Unstructured `json:"sidecarContainers,omitempty"`
	// RuntimeClassName of the pods.
	// +example=gvisor
	RuntimeClassName string `json:"runtimeClassName,omitempty"`
	// HostAliases of the pods, each a Kubernetes HostAlias.
	// +example=[{ip: 192.0.2.53, hostnames: [db.example.com]}]
	HostAliases []Unstructured `json:"hostAliases,omitempty"`
}

// HighAvailability of the control plane. Times are in seconds.
type HighAvailability struct {
	// Replicas of the control plane; more than one needs etcd or an external database.
	// +example=3
	Replicas int `json:"replicas,omitempty"`
	// LeaseDuration of the leader.
	// +example=90
	LeaseDuration int `json:"leaseDuration,omitempty"`
	// RenewDeadline of the leader.
	// +example=50
	RenewDeadline int `json:"renewDeadline,omitempty"`
	// RetryPeriod of those who want to lead.
	// +example=10
	RetryPeriod int `json:"retryPeriod,omitempty"`
}

// Metadata of objects.
type Metadata struct {
	// Labels of the objects.
	// +example={team: a}
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the objects.
	// +example={example.com/owner: team-a}
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Resources of a container: amounts by resource, e.g. cpu: 200m.
type Resources struct {
	// Limits are the most that it may use.
	// +example={memory: 2Gi}
	Limits Unstructured `json:"limits,omitempty"`
	// Requests are the amounts that are reserved for it.
	// +example={cpu: 200m}
	Requests Unstructured `json:"requests,omitempty"`
}

// Scheduling of pods.
type Scheduling struct {
	// NodeSelector picks the host cluster's nodes.
	// +example={zone: rack-1}
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// Affinity of the pods, a Kubernetes Affinity.
	// +example={nodeAffinity: {}}
	Affinity Unstructured `json:"affinity,omitempty"`
	// Tolerations of the pods, each a Kubernetes Toleration.
	// +example=[{key: gpu, operator: Exists}]
	Tolerations []Unstructured `json:"tolerations,omitempty"`
	// PriorityClassName of the pods.
	// +example=system-cluster-critical
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// PodManagementPolicy is Parallel or OrderedReady. It holds from the start of the cluster.
	// +effect=never changes +example=Parallel
	PodManagementPolicy string `json:"podManagementPolicy,omitempty" enum:"Parallel,OrderedReady"`
	// TopologySpreadConstraints of the pods, each a Kubernetes TopologySpreadConstraint. Default: spread over hosts.
	// +example=[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
	TopologySpreadConstraints []Unstructured `json:"topologySpreadConstraints,omitempty"`
}

// Security contexts of pods.
type Security struct {
	// PodSecurityContext is a Kubernetes PodSecurityContext.
	// +example={fsGroup: 65532}
	PodSecurityContext Unstructured `json:"podSecurityContext,omitempty"`
	// ContainerSecurityContext is a Kubernetes SecurityContext, for every container.
	// +example={readOnlyRootFilesystem: true}
	ContainerSecurityContext Unstructured `json:"containerSecurityContext,omitempty"`
}

// Persistence of state.
type Persistence struct {
	// VolumeClaim is the volume that holds the state.
	// +effect=never changes
	VolumeClaim VolumeClaim `json:"volumeClaim,omitzero"`
	// VolumeClaimTemplates would replace volumeClaim. It must be empty.
	// +example=[]
	VolumeClaimTemplates []Unstructured `json:"volumeClaimTemplates,omitempty"`
	// DataVolume would replace the volume of the state. It must be empty.
	// +example=[]
	DataVolume []Unstructured `json:"dataVolume,omitempty"`
	// BinariesVolume held the binaries. Argosy runs them from their image; only an emptyDir, which is the original's
	// default, is accepted.
	// +example=[{name: binaries, emptyDir: {}}]
	BinariesVolume []Unstructured `json:"binariesVolume,omitempty"`
	// AddVolumes are further volumes, each a Kubernetes Volume.
	// +example=[{name: ca, configMap: {name: ca}}]
	AddVolumes []Unstructured `json:"addVolumes,omitempty"`
	// AddVolumeMounts puts them into the main container, each a Kubernetes VolumeMount.
	// +example=[{name: ca, mountPath: /etc/ssl/extra}]
	AddVolumeMounts []Unstructured `json:"addVolumeMounts,omitempty"`
}

// VolumeClaim is a volume of the host cluster. It keeps the settings that it was created with; only its size may grow,
// if the storage class allows that.
type VolumeClaim struct {
	// Enabled is true, false or "auto", which means true where there is state to keep. False loses the state with the
	// pod.
	// +example=auto
	Enabled any `json:"enabled,omitempty" enum:"true,false,auto"`
	// Size of the volume, a Kubernetes quantity.
	// +effect=none +example=10Gi
	Size string `json:"size,omitempty" format:"quantity"`
	// StorageClass of the volume. Default: the host cluster's default class.
	// +example=fast
	StorageClass string `json:"storageClass,omitempty"`
	// RetentionPolicy decides whether the volume is deleted when the cluster is deprovisioned. It may not be Delete
	// when Argosy provisions the control plane: parameter keepVolumes of the deprovision workflow decides it.
	RetentionPolicy string `json:"retentionPolicy,omitempty" enum:"Retain,Delete"`
	// AccessModes of the volume.
	// +example=[ReadWriteOnce]
	AccessModes []string `json:"accessModes,omitempty" items:"ReadWriteOnce,ReadWriteOncePod,ReadWriteMany"`
}

// On reports whether there is to be a volume.
func (v VolumeClaim) On() bool { return v.Enabled != false }

// Probes of a container.
type Probes struct {
	// LivenessProbe restarts it when it does not answer any more.
	LivenessProbe Probe `json:"livenessProbe,omitzero"`
	// ReadinessProbe keeps traffic from it while it does not answer.
	ReadinessProbe Probe `json:"readinessProbe,omitzero"`
	// StartupProbe gives it time to start.
	StartupProbe Probe `json:"startupProbe,omitzero"`
}

// Probe of a container. Times are in seconds; 0 means Argosy's own choice.
type Probe struct {
	// Enabled lets Kubernetes probe.
	Enabled bool `json:"enabled"`
	// FailureThreshold is how many failures in a row count.
	// +example=5
	FailureThreshold int `json:"failureThreshold,omitempty"`
	// InitialDelaySeconds before the first probe.
	// +example=10
	InitialDelaySeconds int `json:"initialDelaySeconds,omitempty"`
	// TimeoutSeconds of one probe.
	// +example=5
	TimeoutSeconds int `json:"timeoutSeconds,omitempty"`
	// PeriodSeconds from one probe to the next.
	// +example=10
	PeriodSeconds int `json:"periodSeconds,omitempty"`
}
