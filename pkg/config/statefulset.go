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
	Labels map[string]string `json:"labels,omitempty" effect:"none" example:"{team: a}"`
	// Annotations of the StatefulSet.
	Annotations map[string]string `json:"annotations,omitempty" effect:"none" example:"{example.com/owner: team-a}"`
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
	WorkingDir string `json:"workingDir,omitempty" example:"/tmp"`
	// Command of the original's own program. It must be empty.
	Command []string `json:"command,omitempty" example:"[]"`
	// Args of the original's own program. They must be empty.
	Args []string `json:"args,omitempty" example:"[]"`
	// Env of the main container, each a Kubernetes EnvVar.
	Env []Free `json:"env,omitempty" example:"[{name: TZ, value: UTC}]"`
	// DNSPolicy of the pods.
	DNSPolicy string `json:"dnsPolicy,omitempty" enum:"ClusterFirst,ClusterFirstWithHostNet,Default,None"`
	// DNSConfig of the pods, a Kubernetes PodDNSConfig.
	DNSConfig Free `json:"dnsConfig,omitempty" example:"{nameservers: [192.0.2.53]}"`
	// InitContainers run first, each a Kubernetes Container.
	InitContainers []Free `json:"initContainers,omitempty" example:"[{name: prepare, image: registry.example.com/prepare:v1}]"`
	// SidecarContainers run beside, each a Kubernetes Container.
	SidecarContainers []Free `json:"sidecarContainers,omitempty" example:"[{name: audit, image: registry.example.com/audit:v1}]"`
	// RuntimeClassName of the pods.
	RuntimeClassName string `json:"runtimeClassName,omitempty" example:"gvisor"`
	// HostAliases of the pods, each a Kubernetes HostAlias.
	HostAliases []Free `json:"hostAliases,omitempty" example:"[{ip: 192.0.2.53, hostnames: [db.example.com]}]"`
}

// HighAvailability of the control plane. Times are in seconds.
type HighAvailability struct {
	// Replicas of the control plane; more than one needs etcd or an external database.
	Replicas int `json:"replicas,omitempty" example:"3"`
	// LeaseDuration of the leader.
	LeaseDuration int `json:"leaseDuration,omitempty" example:"90"`
	// RenewDeadline of the leader.
	RenewDeadline int `json:"renewDeadline,omitempty" example:"50"`
	// RetryPeriod of those who want to lead.
	RetryPeriod int `json:"retryPeriod,omitempty" example:"10"`
}

// Metadata of objects.
type Metadata struct {
	// Labels of the objects.
	Labels map[string]string `json:"labels,omitempty" example:"{team: a}"`
	// Annotations of the objects.
	Annotations map[string]string `json:"annotations,omitempty" example:"{example.com/owner: team-a}"`
}

// Resources of a container: amounts by resource, e.g. cpu: 200m.
type Resources struct {
	// Limits are the most that it gets.
	Limits Free `json:"limits,omitempty" example:"{memory: 2Gi}"`
	// Requests are what is kept free for it.
	Requests Free `json:"requests,omitempty" example:"{cpu: 200m}"`
}

// Scheduling of pods.
type Scheduling struct {
	// NodeSelector picks the host cluster's nodes.
	NodeSelector map[string]string `json:"nodeSelector,omitempty" example:"{zone: rack-1}"`
	// Affinity of the pods, a Kubernetes Affinity.
	Affinity Free `json:"affinity,omitempty" example:"{nodeAffinity: {}}"`
	// Tolerations of the pods, each a Kubernetes Toleration.
	Tolerations []Free `json:"tolerations,omitempty" example:"[{key: gpu, operator: Exists}]"`
	// PriorityClassName of the pods.
	PriorityClassName string `json:"priorityClassName,omitempty" example:"system-cluster-critical"`
	// PodManagementPolicy is Parallel or OrderedReady. It holds from the start of the cluster.
	PodManagementPolicy string `json:"podManagementPolicy,omitempty" enum:"Parallel,OrderedReady" effect:"never changes" example:"Parallel"`
	// TopologySpreadConstraints of the pods, each a Kubernetes TopologySpreadConstraint. Default: spread over hosts.
	TopologySpreadConstraints []Free `json:"topologySpreadConstraints,omitempty" example:"[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]"`
}

// Security contexts of pods.
type Security struct {
	// PodSecurityContext is a Kubernetes PodSecurityContext.
	PodSecurityContext Free `json:"podSecurityContext,omitempty" example:"{fsGroup: 65532}"`
	// ContainerSecurityContext is a Kubernetes SecurityContext, for every container.
	ContainerSecurityContext Free `json:"containerSecurityContext,omitempty" example:"{readOnlyRootFilesystem: true}"`
}

// Persistence of state.
type Persistence struct {
	// VolumeClaim is the volume that holds the state.
	VolumeClaim VolumeClaim `json:"volumeClaim,omitzero" effect:"never changes"`
	// VolumeClaimTemplates would replace volumeClaim. It must be empty.
	VolumeClaimTemplates []Free `json:"volumeClaimTemplates,omitempty" example:"[]"`
	// DataVolume would replace the volume of the state. It must be empty.
	DataVolume []Free `json:"dataVolume,omitempty" example:"[]"`
	// BinariesVolume held the binaries. Argosy runs them from their image; only an emptyDir, which is the original's
	// default, is accepted.
	BinariesVolume []Free `json:"binariesVolume,omitempty" example:"[{name: binaries, emptyDir: {}}]"`
	// AddVolumes are further volumes, each a Kubernetes Volume.
	AddVolumes []Free `json:"addVolumes,omitempty" example:"[{name: ca, configMap: {name: ca}}]"`
	// AddVolumeMounts puts them into the main container, each a Kubernetes VolumeMount.
	AddVolumeMounts []Free `json:"addVolumeMounts,omitempty" example:"[{name: ca, mountPath: /etc/ssl/extra}]"`
}

// VolumeClaim is a volume of the host cluster. What it was made with stays: only its size may grow later, where the
// storage class allows that.
type VolumeClaim struct {
	// Enabled is true, false or "auto", which means true where there is state to keep. False loses the state with the
	// pod.
	Enabled any `json:"enabled,omitempty" example:"auto"`
	// Size of the volume, a Kubernetes quantity.
	Size string `json:"size,omitempty" effect:"none" example:"10Gi"`
	// StorageClass of the volume. Default: the host cluster's default class.
	StorageClass string `json:"storageClass,omitempty" example:"fast"`
	// RetentionPolicy is what becomes of the volume when the cluster is deprovisioned. It may not be Delete when Argosy
	// provisions the control plane: the deprovision workflow is told what to do with volumes.
	RetentionPolicy string `json:"retentionPolicy,omitempty" enum:"Retain,Delete"`
	// AccessModes of the volume.
	AccessModes []string `json:"accessModes,omitempty" example:"[ReadWriteOnce]"`
}

// On says whether there is to be a volume.
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
	FailureThreshold int `json:"failureThreshold,omitempty" example:"5"`
	// InitialDelaySeconds before the first probe.
	InitialDelaySeconds int `json:"initialDelaySeconds,omitempty" example:"10"`
	// TimeoutSeconds of one probe.
	TimeoutSeconds int `json:"timeoutSeconds,omitempty" example:"5"`
	// PeriodSeconds from one probe to the next.
	PeriodSeconds int `json:"periodSeconds,omitempty" example:"10"`
}
