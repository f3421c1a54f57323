package config

import "argosy.dev/argosy/pkg/secret"

// Free is a section whose keys Argosy does not know one by one. It is kept as it was written.
type Free map[string]any

// VCluster is vcluster.yaml, as far as it concerns clusters with private nodes.
type VCluster struct {
	// PrivateNodes gives the cluster machines of its own. Its enabled must be true.
	PrivateNodes PrivateNodes `json:"privateNodes"`
	// ControlPlane is the hosted control plane.
	ControlPlane ControlPlane `json:"controlPlane,omitzero" effect:"replaces the control plane's pods" at:"control plane"`
	// Networking of pods and services.
	Networking Networking `json:"networking,omitzero" effect:"never changes" at:"control plane"`
	// Deploy switches what runs in the cluster from the start.
	Deploy Deploy `json:"deploy,omitzero" effect:"applies to the addon" at:"cluster"`

	// Sync between host cluster and virtual cluster. It does not exist with private nodes; nothing in it may be on.
	Sync Free `json:"sync,omitempty" effect:"no effect" example:"{toHost: {pods: {enabled: false}}}"`
	// Integrations with tools of the host cluster. They need syncing; nothing in it may be on.
	Integrations Free `json:"integrations,omitempty" effect:"no effect" example:"{metricsServer: {enabled: false}}"`
	// SleepMode stops idle workloads. It does not exist with private nodes; it may not be on.
	SleepMode Free `json:"sleepMode,omitempty" effect:"no effect" example:"{enabled: false}"`
	// Sleep is the newer name of sleepMode; it may not be on.
	Sleep Free `json:"sleep,omitempty" effect:"no effect" example:"{}"`
	// Policies of the host cluster's namespace.
	Policies Policies `json:"policies,omitzero" effect:"no effect"`
	// RBAC of the control plane in the host cluster, where it needs no rights: switching roles on or off has no effect.
	RBAC Free `json:"rbac,omitempty" effect:"no effect" example:"{role: {enabled: true}}"`
	// ExportKubeConfig says how the cluster's kubeconfig is written.
	ExportKubeConfig Free `json:"exportKubeConfig,omitempty" effect:"no effect" example:"{context: ''}"`
	// Experimental settings. isolatedControlPlane and genericSync may not be on.
	Experimental Free `json:"experimental,omitempty" effect:"no effect" example:"{isolatedControlPlane: {enabled: false}}"`
	// External holds settings of other tools.
	External Free `json:"external,omitempty" effect:"no effect" example:"{}"`
	// Telemetry of the original. Argosy sends none, whatever stands here.
	Telemetry Free `json:"telemetry,omitempty" effect:"no effect" example:"{enabled: false}"`
	// Logging of the control plane, whose components log text.
	Logging Free `json:"logging,omitempty" effect:"no effect" example:"{encoding: console}"`
	// Snapshots of the original's platform.
	Snapshots Free `json:"snapshots,omitempty" effect:"no effect" example:"{}"`
	// Deletion settings of the original's platform.
	Deletion Free `json:"deletion,omitempty" effect:"no effect" example:"{}"`
	// Platform settings of the original.
	Platform Free `json:"platform,omitempty" effect:"no effect" example:"{}"`
	// Pro is accepted and has no effect.
	Pro bool `json:"pro,omitempty" effect:"no effect"`
	// Plugin is the older form of plugins.
	Plugin Free `json:"plugin,omitempty" effect:"no effect" example:"{}"`
	// Plugins of the original's syncer.
	Plugins Free `json:"plugins,omitempty" effect:"no effect" example:"{}"`
}

// PrivateNodes holds what concerns the cluster's own machines.
type PrivateNodes struct {
	// Enabled must be true: Argosy knows no other kind of cluster.
	Enabled bool `json:"enabled" effect:"never changes" at:"control plane" example:"true"`
	// ImportNodeBinaries takes node bundles from the control plane's image. It concerns hosted control planes.
	ImportNodeBinaries bool `json:"importNodeBinaries" effect:"replaces the control plane's pods" at:"control plane"`
	// Kubelet settings for all nodes.
	Kubelet Kubelet `json:"kubelet,omitzero"`
	// AutoUpgrade says how nodes follow the control plane, and where their binaries are and come from.
	AutoUpgrade AutoUpgrade `json:"autoUpgrade,omitzero" effect:"with the next workflow" at:"plugin"`
	// JoinNode says how a machine becomes a node.
	JoinNode JoinNode `json:"joinNode,omitzero" effect:"needs a rejoin" at:"machine"`

	// CNI is the older place of deploy.cni. Once parsed it is empty and deploy.cni holds its content.
	CNI CNI `json:"cni,omitzero" effect:"applies to the addon" at:"cluster"`
	// KubeProxy is the older place of deploy.kubeProxy. Once parsed it is empty and deploy.kubeProxy holds its content.
	KubeProxy KubeProxy `json:"kubeProxy,omitzero" effect:"applies to the addon" at:"cluster"`
	// LocalPathProvisioner is the older place of deploy.localPathProvisioner. Once parsed it is empty and
	// deploy.localPathProvisioner holds its content.
	LocalPathProvisioner LocalPathProvisioner `json:"localPathProvisioner,omitzero" effect:"applies to the addon" at:"cluster"`

	// AutoNodes would create machines through the original's platform. It must be empty: machines are listed in
	// argosy.yaml.
	AutoNodes any `json:"autoNodes,omitempty" effect:"no effect" example:"[]"`
	// VPN would tunnel node traffic through the original's platform. It may not be on.
	VPN VPN `json:"vpn,omitzero" effect:"no effect"`
	// Daemon would run a resident agent on each node. It may not be on.
	Daemon Daemon `json:"daemon,omitzero" effect:"no effect"`
	// DefaultProfile would name a node profile of the original's platform. It must be empty.
	DefaultProfile string `json:"defaultProfile,omitempty" effect:"no effect" example:"''"`
}

// Kubelet settings for all nodes.
type Kubelet struct {
	// CgroupDriver is systemd or cgroupfs. Default: what the cluster's kubelet-config says.
	CgroupDriver string `json:"cgroupDriver,omitempty" enum:"systemd,cgroupfs" effect:"needs a rejoin" at:"machine" example:"systemd"`
	// Config is merged into the KubeletConfiguration (kubelet.config.k8s.io/v1beta1) of all nodes. In a cluster that
	// exists already only cgroupDriver may stand here: its kubelet-config is not Argosy's.
	Config Free `json:"config,omitempty" effect:"restarts kubelet" at:"machine" example:"{maxPods: 200}"`
}

// AutoUpgrade says how nodes follow the control plane's version.
type AutoUpgrade struct {
	// Enabled lets workflow scheduled-upgrade take nodes along with the control plane. Workflow upgrade, which somebody
	// submits, does so anyway.
	Enabled bool `json:"enabled"`
	// Image of the pod that upgrades a machine which SSH does not reach. Default: controlPlane.image of argosy.yaml,
	// which is the plugin's own image.
	Image string `json:"image,omitempty" example:"registry.example.com/argosy:v1"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// NodeSelector are labels that a node has to have to be upgraded; empty means all.
	NodeSelector map[string]string `json:"nodeSelector,omitempty" example:"{zone: rack-1}"`
	// BundleRepository is the URL below which <version>/kubernetes-<version>-<arch>.tar.gz lies.
	BundleRepository string `json:"bundleRepository,omitempty" effect:"with the next workflow" at:"plugin" example:"https://bundles.example.com/kubernetes"`
	// BinariesPath is where kubeadm, kubelet, containerd and the like live on a machine.
	BinariesPath string `json:"binariesPath,omitempty" effect:"restarts containerd" at:"machine" example:"/opt/kubernetes/bin"`
	// CNIBinariesPath is where CNI plugins live on a machine.
	CNIBinariesPath string `json:"cniBinariesPath,omitempty" effect:"restarts containerd" at:"machine" example:"/opt/kubernetes/cni"`
	// Concurrency is how many nodes are upgraded at once, as a number or as a percentage of those that are to be,
	// rounded down, and 1 at least. upgrade.maxUnavailable of argosy.yaml holds instead of it.
	Concurrency Amount `json:"concurrency,omitempty" example:"3"`
	// PodSecurityContext of the upgrade pod, a Kubernetes PodSecurityContext.
	PodSecurityContext Free `json:"podSecurityContext,omitempty" example:"{runAsUser: 0}"`
	// ContainerSecurityContext of the upgrade pod's container, a Kubernetes SecurityContext.
	ContainerSecurityContext Free `json:"containerSecurityContext,omitempty" example:"{privileged: true}"`
}

// JoinNode says how a machine becomes a node.
type JoinNode struct {
	// PreInstallCommands run on the machine before anything is installed, each by /bin/sh -e from a file of its own,
	// for at most join.commandTimeout of argosy.yaml, and once in a join: one that has succeeded is not run again when
	// the join goes on after an interruption.
	PreInstallCommands []string `json:"preInstallCommands,omitempty" example:"[\"apt-get install -y nfs-common\"]"`
	// PreJoinCommands run on the machine right before kubeadm join, in the same way.
	PreJoinCommands []string `json:"preJoinCommands,omitempty" example:"[\"modprobe ip_vs\"]"`
	// PostJoinCommands run on the machine when its kubelet is healthy, in the same way.
	PostJoinCommands []string `json:"postJoinCommands,omitempty" example:"['logger \"$ARGOSY_MACHINE joined\"']"`
	// Containerd is the container runtime.
	Containerd Containerd `json:"containerd,omitzero"`
	// CACertPath is where kubeadm keeps the cluster's certificate authority on the machine.
	CACertPath string `json:"caCertPath,omitempty" example:"/etc/kubernetes/pki/ca.crt"`
	// SkipPhases of kubeadm join, sub-phases with a slash. kubelet-start, which makes the machine a node, is not one of
	// them.
	SkipPhases []string `json:"skipPhases,omitempty" example:"[preflight]"`
	// NodeRegistration is how the node registers itself.
	NodeRegistration NodeRegistration `json:"nodeRegistration,omitzero"`
}

// Containerd is the container runtime of a machine.
type Containerd struct {
	// Enabled installs and configures containerd. False: a runtime that is there already is checked, used, and never
	// touched; then neither registry nor pauseImage may be set.
	Enabled bool `json:"enabled"`
	// Registry says how containerd reaches image registries.
	Registry Registry `json:"registry,omitzero" effect:"none"`
	// ImportImages are where images come from that are imported before the machine joins: a file on the machine or a
	// folder, whose .tar, .tar.gz and .tar.zst files are taken; an http or https URL of such a file, with "#sha256="
	// and its digest behind it if you know it; or oci:// and an image in a registry. What is no file on the machine is
	// fetched by the plugin.
	ImportImages []string `json:"importImages,omitempty" effect:"with the next workflow" example:"[/srv/images, \"https://files.example.com/app.tar\", \"oci://registry.example.com/app:v1\"]"`
	// PauseImage is the image of every pod's pause container. Default: the bundle's own.
	PauseImage string `json:"pauseImage,omitempty" effect:"restarts containerd" example:"registry.k8s.io/pause:3.10"`
}

// Registry says how containerd reaches image registries.
type Registry struct {
	// ConfigPath is the folder with one hosts.toml per registry. Default: /etc/containerd/certs.d.
	ConfigPath string `json:"configPath,omitempty" effect:"restarts containerd" example:"/etc/containerd/certs.d"`
	// Mirrors by registry host, e.g. "docker.io" or "registry.example.com:5000"; _default stands for every registry
	// that has no entry.
	Mirrors map[string]Mirror `json:"mirrors,omitempty" names:"registry"`
	// Auth by registry host. Whoever reads the document reads the logins: prefer registries.secret of argosy.yaml.
	Auth map[string]RegistryAuth `json:"auth,omitempty" effect:"restarts containerd" names:"registry"`
}

// Mirror is one registry and the hosts that stand in for it.
type Mirror struct {
	// Server is asked when no host answers, e.g. https://registry-1.docker.io.
	Server string `json:"server,omitempty" example:"https://registry-1.docker.io"`
	// CACert are paths of certificate authorities on the machine.
	CACert []string `json:"caCert,omitempty" example:"[/etc/ssl/certs/registry-ca.crt]"`
	// SkipVerify accepts any certificate and plain HTTP.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// Capabilities are pull, resolve and push; empty means pull and resolve.
	Capabilities []string `json:"capabilities,omitempty" example:"[pull, resolve]"`
	// OverridePath says that server holds the whole path of the API.
	OverridePath bool `json:"overridePath,omitempty"`
	// Hosts that are asked first, in order.
	Hosts []MirrorHost `json:"hosts,omitempty"`
}

// MirrorHost stands in for a registry.
type MirrorHost struct {
	// Server, e.g. http://192.168.31.250:5000.
	Server string `json:"server,omitempty" example:"https://mirror.example.com"`
	// CACert are paths of certificate authorities on the machine.
	CACert []string `json:"caCert,omitempty" example:"[/etc/ssl/certs/registry-ca.crt]"`
	// SkipVerify accepts any certificate and plain HTTP.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// Capabilities are pull, resolve and push; empty means pull and resolve.
	Capabilities []string `json:"capabilities,omitempty" example:"[pull, resolve]"`
	// OverridePath says that server holds the whole path of the API.
	OverridePath bool `json:"overridePath,omitempty"`
}

// RegistryAuth is a login at a registry.
type RegistryAuth struct {
	// Username to log in with.
	Username string `json:"username,omitempty" example:"puller"`
	// Password of that user.
	Password secret.Value `json:"password,omitzero" example:"…"`
	// IdentityToken instead of user and password.
	IdentityToken secret.Value `json:"identityToken,omitzero" example:"…"`
	// Auth is user:password in base64, as in Docker's config.json.
	Auth secret.Value `json:"auth,omitzero" example:"cHVsbGVyOmV4YW1wbGU="`
}

// NodeRegistration is how a node registers itself, as in kubeadm's JoinConfiguration.
type NodeRegistration struct {
	// CRISocket is the container runtime's socket, e.g. unix:///run/containerd/containerd.sock.
	CRISocket string `json:"criSocket,omitempty" example:"unix:///run/containerd/containerd.sock"`
	// KubeletExtraArgs go to the kubelet's command line. A name may stand more than once.
	KubeletExtraArgs []KubeletArg `json:"kubeletExtraArgs,omitempty" effect:"restarts kubelet"`
	// Taints of every node, beside those of its machine.
	Taints []Taint `json:"taints,omitempty" effect:"none" at:"cluster"`
	// IgnorePreflightErrors of kubeadm, e.g. "Swap", or "all".
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty" example:"[Swap]"`
	// ImagePullPolicy of kubeadm: Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// KubeletArg is one argument of the kubelet.
type KubeletArg struct {
	// Name without its leading dashes.
	Name string `json:"name" example:"max-pods"`
	// Value of the argument.
	Value string `json:"value,omitempty" example:"\"200\""`
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
	Port int `json:"port,omitempty" example:"11343"`
}

// Switch turns something on.
type Switch struct {
	// Enabled turns it on.
	Enabled bool `json:"enabled,omitempty"`
}

// Policies of the host cluster's namespace.
type Policies struct {
	// PodSecurityStandard is privileged, baseline or restricted.
	PodSecurityStandard string `json:"podSecurityStandard,omitempty" enum:"privileged,baseline,restricted" example:"''"`
	// ResourceQuota of the namespace.
	ResourceQuota Free `json:"resourceQuota,omitempty" example:"{enabled: false}"`
	// LimitRange of the namespace.
	LimitRange Free `json:"limitRange,omitempty" example:"{enabled: false}"`
	// NetworkPolicy of the namespace.
	NetworkPolicy Free `json:"networkPolicy,omitempty" example:"{enabled: false}"`
	// CentralAdmission webhooks of the original.
	CentralAdmission Free `json:"centralAdmission,omitempty" example:"{}"`
}
