package config

import "argosy.dev/argosy/pkg/secret"

// Free is a section whose keys Argosy does not know one by one. It is kept as it was written.
type Free map[string]any

// VCluster is vcluster.yaml, as far as it concerns clusters with private nodes.
type VCluster struct {
	// PrivateNodes gives the cluster machines of its own. Its enabled must be true.
	PrivateNodes PrivateNodes `json:"privateNodes"`
	// ControlPlane is the hosted control plane.
	ControlPlane ControlPlane `json:"controlPlane,omitzero"`
	// Networking of pods and services.
	Networking Networking `json:"networking,omitzero"`
	// Deploy switches what runs in the cluster from the start.
	Deploy Deploy `json:"deploy,omitzero"`

	// Sync between host cluster and virtual cluster. It does not exist with private nodes; nothing in it may be on.
	Sync Free `json:"sync,omitempty"`
	// Integrations with tools of the host cluster. They need syncing; nothing in it may be on.
	Integrations Free `json:"integrations,omitempty"`
	// SleepMode stops idle workloads. It does not exist with private nodes; it may not be on.
	SleepMode Free `json:"sleepMode,omitempty"`
	// Sleep is the newer name of sleepMode; it may not be on.
	Sleep Free `json:"sleep,omitempty"`
	// Policies of the host cluster's namespace.
	Policies Policies `json:"policies,omitzero"`
	// RBAC of the control plane in the host cluster.
	RBAC Free `json:"rbac,omitempty"`
	// ExportKubeConfig says how the cluster's kubeconfig is written.
	ExportKubeConfig Free `json:"exportKubeConfig,omitempty"`
	// Experimental settings. isolatedControlPlane and genericSync may not be on.
	Experimental Free `json:"experimental,omitempty"`
	// External holds settings of other tools.
	External Free `json:"external,omitempty"`
	// Telemetry of the original. Argosy sends none.
	Telemetry Free `json:"telemetry,omitempty"`
	// Logging of the control plane.
	Logging Free `json:"logging,omitempty"`
	// Snapshots of the original's platform.
	Snapshots Free `json:"snapshots,omitempty"`
	// Deletion settings of the original's platform.
	Deletion Free `json:"deletion,omitempty"`
	// Platform settings of the original.
	Platform Free `json:"platform,omitempty"`
	// Pro is accepted and has no effect.
	Pro bool `json:"pro,omitempty"`
	// Plugin is the older form of plugins.
	Plugin Free `json:"plugin,omitempty"`
	// Plugins of the original's syncer.
	Plugins Free `json:"plugins,omitempty"`
}

// PrivateNodes holds what concerns the cluster's own machines.
type PrivateNodes struct {
	// Enabled must be true: Argosy knows no other kind of cluster.
	Enabled bool `json:"enabled"`
	// ImportNodeBinaries takes node bundles from the control plane's image. It concerns hosted control planes.
	ImportNodeBinaries bool `json:"importNodeBinaries"`
	// Kubelet settings for all nodes.
	Kubelet Kubelet `json:"kubelet,omitzero"`
	// AutoUpgrade of the nodes, and where their binaries are and come from.
	AutoUpgrade AutoUpgrade `json:"autoUpgrade,omitzero"`
	// JoinNode says how a machine becomes a node.
	JoinNode JoinNode `json:"joinNode,omitzero"`

	// CNI is the older place of deploy.cni. Once parsed it is empty and deploy.cni holds its content.
	CNI CNI `json:"cni,omitzero"`
	// KubeProxy is the older place of deploy.kubeProxy. Once parsed it is empty and deploy.kubeProxy holds its content.
	KubeProxy KubeProxy `json:"kubeProxy,omitzero"`
	// LocalPathProvisioner is the older place of deploy.localPathProvisioner. Once parsed it is empty and
	// deploy.localPathProvisioner holds its content.
	LocalPathProvisioner LocalPathProvisioner `json:"localPathProvisioner,omitzero"`

	// AutoNodes would create machines through the original's platform. It must be empty: machines are listed in argosy.yaml.
	AutoNodes any `json:"autoNodes,omitempty"`
	// VPN would tunnel node traffic through the original's platform. It may not be on.
	VPN VPN `json:"vpn,omitzero"`
	// Daemon would run a resident agent on each node. It may not be on.
	Daemon Daemon `json:"daemon,omitzero"`
	// DefaultProfile would name a node profile of the original's platform. It must be empty.
	DefaultProfile string `json:"defaultProfile,omitempty"`
}

// Kubelet settings for all nodes.
type Kubelet struct {
	// CgroupDriver is systemd or cgroupfs. Default: what the cluster's kubelet-config says.
	CgroupDriver string `json:"cgroupDriver,omitempty" enum:"systemd,cgroupfs"`
	// Config is merged into the KubeletConfiguration (kubelet.config.k8s.io/v1beta1) of all nodes.
	Config Free `json:"config,omitempty"`
}

// AutoUpgrade says how nodes follow the control plane's version.
type AutoUpgrade struct {
	// Enabled lets nodes follow the control plane.
	Enabled bool `json:"enabled"`
	// Image of the upgrade pod. Default: controlPlane.statefulSet.image.
	Image string `json:"image,omitempty"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// NodeSelector picks the nodes to upgrade; empty means all.
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// BundleRepository is the URL below which <version>/kubernetes-<version>-<arch>.tar.gz lies.
	BundleRepository string `json:"bundleRepository,omitempty"`
	// BinariesPath is where kubeadm, kubelet, containerd and the like live on a machine.
	BinariesPath string `json:"binariesPath,omitempty"`
	// CNIBinariesPath is where CNI plugins live on a machine.
	CNIBinariesPath string `json:"cniBinariesPath,omitempty"`
	// Concurrency is how many nodes are upgraded at once.
	Concurrency int `json:"concurrency,omitempty"`
	// PodSecurityContext of the upgrade pod, a Kubernetes PodSecurityContext.
	PodSecurityContext Free `json:"podSecurityContext,omitempty"`
	// ContainerSecurityContext of the upgrade pod's container, a Kubernetes SecurityContext.
	ContainerSecurityContext Free `json:"containerSecurityContext,omitempty"`
}

// JoinNode says how a machine becomes a node.
type JoinNode struct {
	// PreInstallCommands run on the machine before anything is installed.
	PreInstallCommands []string `json:"preInstallCommands,omitempty"`
	// PreJoinCommands run on the machine right before kubeadm join.
	PreJoinCommands []string `json:"preJoinCommands,omitempty"`
	// PostJoinCommands run on the machine after kubeadm join.
	PostJoinCommands []string `json:"postJoinCommands,omitempty"`
	// Containerd is the container runtime.
	Containerd Containerd `json:"containerd,omitzero"`
	// CACertPath is where kubeadm keeps the cluster's certificate authority on the machine.
	CACertPath string `json:"caCertPath,omitempty"`
	// SkipPhases of kubeadm join, e.g. "preflight" or "kubelet-start".
	SkipPhases []string `json:"skipPhases,omitempty"`
	// NodeRegistration is how the node registers itself.
	NodeRegistration NodeRegistration `json:"nodeRegistration,omitzero"`
}

// Containerd is the container runtime of a machine.
type Containerd struct {
	// Enabled installs and configures containerd. False: a runtime that is there already is used.
	Enabled bool `json:"enabled"`
	// Registry says how containerd reaches image registries.
	Registry Registry `json:"registry,omitzero"`
	// ImportImages are image archives on the machine, or folders of them.
	ImportImages []string `json:"importImages,omitempty"`
	// PauseImage is the image of every pod's pause container. Default: the bundle's own.
	PauseImage string `json:"pauseImage,omitempty"`
}

// Registry says how containerd reaches image registries.
type Registry struct {
	// ConfigPath is the folder with one hosts.toml per registry.
	ConfigPath string `json:"configPath,omitempty"`
	// Mirrors by registry host, e.g. "docker.io" or "registry.example.com:5000".
	Mirrors map[string]Mirror `json:"mirrors,omitempty"`
	// Auth by registry host.
	Auth map[string]RegistryAuth `json:"auth,omitempty"`
}

// Mirror is one registry and the hosts that stand in for it.
type Mirror struct {
	// Server is asked when no host answers, e.g. https://registry-1.docker.io.
	Server string `json:"server,omitempty"`
	// CACert are paths of certificate authorities on the machine.
	CACert []string `json:"caCert,omitempty"`
	// SkipVerify accepts any certificate and plain HTTP.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// Capabilities are pull, resolve and push; empty means pull and resolve.
	Capabilities []string `json:"capabilities,omitempty"`
	// OverridePath says that server holds the whole path of the API.
	OverridePath bool `json:"overridePath,omitempty"`
	// Hosts that are asked first, in order.
	Hosts []MirrorHost `json:"hosts,omitempty"`
}

// MirrorHost stands in for a registry.
type MirrorHost struct {
	// Server, e.g. http://192.168.31.250:5000.
	Server string `json:"server,omitempty"`
	// CACert are paths of certificate authorities on the machine.
	CACert []string `json:"caCert,omitempty"`
	// SkipVerify accepts any certificate and plain HTTP.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// Capabilities are pull, resolve and push; empty means pull and resolve.
	Capabilities []string `json:"capabilities,omitempty"`
	// OverridePath says that server holds the whole path of the API.
	OverridePath bool `json:"overridePath,omitempty"`
}

// RegistryAuth is a login at a registry.
type RegistryAuth struct {
	// Username to log in with.
	Username string `json:"username,omitempty"`
	// Password of that user.
	Password secret.Value `json:"password,omitzero"`
	// IdentityToken instead of user and password.
	IdentityToken secret.Value `json:"identityToken,omitzero"`
	// Auth is user:password in base64, as in Docker's config.json.
	Auth secret.Value `json:"auth,omitzero"`
}

// NodeRegistration is how a node registers itself, as in kubeadm's JoinConfiguration.
type NodeRegistration struct {
	// CRISocket is the container runtime's socket, e.g. unix:///run/containerd/containerd.sock.
	CRISocket string `json:"criSocket,omitempty"`
	// KubeletExtraArgs go to the kubelet's command line. A name may stand more than once.
	KubeletExtraArgs []KubeletArg `json:"kubeletExtraArgs,omitempty"`
	// Taints of every node, beside those of its machine.
	Taints []Taint `json:"taints,omitempty"`
	// IgnorePreflightErrors of kubeadm, e.g. "Swap", or "all".
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`
	// ImagePullPolicy of kubeadm: Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// KubeletArg is one argument of the kubelet.
type KubeletArg struct {
	// Name without its leading dashes.
	Name string `json:"name"`
	// Value of the argument.
	Value string `json:"value,omitempty"`
}

// VPN would tunnel node traffic through the original's platform.
type VPN struct {
	// Enabled may not be true.
	Enabled bool `json:"enabled,omitempty"`
	// NodeToNode would tunnel between nodes as well.
	NodeToNode Switch `json:"nodeToNode,omitzero"`
}

// Daemon would run a resident agent on each node.
type Daemon struct {
	// Enabled may not be true.
	Enabled bool `json:"enabled,omitempty"`
	// ControlPlaneLoadBalancer would balance over control plane replicas on each node.
	ControlPlaneLoadBalancer DaemonLoadBalancer `json:"controlPlaneLoadBalancer,omitzero"`
}

// DaemonLoadBalancer would balance over control plane replicas on each node.
type DaemonLoadBalancer struct {
	// Enabled may not be true.
	Enabled bool `json:"enabled,omitempty"`
	// KubeProxy would send kube-proxy's traffic through it.
	KubeProxy bool `json:"kubeProxy,omitempty"`
	// Port it would listen on.
	Port int `json:"port,omitempty"`
}

// Switch turns something on.
type Switch struct {
	// Enabled turns it on.
	Enabled bool `json:"enabled,omitempty"`
}

// Policies of the host cluster's namespace.
type Policies struct {
	// PodSecurityStandard is privileged, baseline or restricted.
	PodSecurityStandard string `json:"podSecurityStandard,omitempty" enum:"privileged,baseline,restricted"`
	// ResourceQuota of the namespace.
	ResourceQuota Free `json:"resourceQuota,omitempty"`
	// LimitRange of the namespace.
	LimitRange Free `json:"limitRange,omitempty"`
	// NetworkPolicy of the namespace.
	NetworkPolicy Free `json:"networkPolicy,omitempty"`
	// CentralAdmission webhooks of the original.
	CentralAdmission Free `json:"centralAdmission,omitempty"`
}
