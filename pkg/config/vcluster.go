package config

import "argosy.dev/argosy/pkg/secret"

// Unstructured is a section whose keys Argosy does not know one by one. It is kept as it was written.
type Unstructured map[string]any

// VCluster is vcluster.yaml, as far as it is about clusters with private nodes.
type VCluster struct {
	// PrivateNodes gives the cluster machines of its own. Its enabled must be true.
	PrivateNodes PrivateNodes `json:"privateNodes"`
	// ControlPlane is the hosted control plane.
	// +at=control plane +effect=replaces the control plane's pods
	ControlPlane ControlPlane `json:"controlPlane,omitzero"`
	// Networking of pods and services.
	// +at=control plane +effect=never changes
	Networking Networking `json:"networking,omitzero"`
	// Deploy switches the addons that run in the cluster from the start.
	// +at=cluster +effect=applies to the addon
	Deploy Deploy `json:"deploy,omitzero"`

	// Sync between host cluster and virtual cluster. It does not exist with private nodes; nothing in it may be on.
	// +effect=no effect +example={toHost: {pods: {enabled: false}}}
	Sync Unstructured `json:"sync,omitempty"`
	// Integrations with tools of the host cluster. They need syncing; nothing in it may be on.
	// +effect=no effect +example={metricsServer: {enabled: false}}
	Integrations Unstructured `json:"integrations,omitempty"`
	// SleepMode stops idle workloads. It does not exist with private nodes; it may not be on.
	// +effect=no effect +example={enabled: false}
	SleepMode Unstructured `json:"sleepMode,omitempty"`
	// Sleep is the newer name of sleepMode; it may not be on.
	// +effect=no effect +example={}
	Sleep Unstructured `json:"sleep,omitempty"`
	// Policies of the host cluster's namespace.
	// +effect=no effect
	Policies Policies `json:"policies,omitzero"`
	// RBAC of the control plane in the host cluster, where it needs no rights: switching roles on or off has no effect.
	// +effect=no effect +example={role: {enabled: true}}
	RBAC Unstructured `json:"rbac,omitempty"`
	// ExportKubeConfig is how the original writes the cluster's kubeconfig.
	// +effect=no effect +example={context: ''}
	ExportKubeConfig Unstructured `json:"exportKubeConfig,omitempty"`
	// Experimental settings. isolatedControlPlane and genericSync may not be on.
	// +effect=no effect +example={isolatedControlPlane: {enabled: false}}
	Experimental Unstructured `json:"experimental,omitempty"`
	// External holds settings of other tools.
	// +effect=no effect +example={}
	External Unstructured `json:"external,omitempty"`
	// Telemetry of the original. Argosy sends none, whatever the value.
	// +effect=no effect +example={enabled: false}
	Telemetry Unstructured `json:"telemetry,omitempty"`
	// Logging of the control plane, whose components log text.
	// +effect=no effect +example={encoding: console}
	Logging Unstructured `json:"logging,omitempty"`
	// Snapshots of the original's platform.
	// +effect=no effect +example={}
	Snapshots Unstructured `json:"snapshots,omitempty"`
	// Deletion settings of the original's platform.
	// +effect=no effect +example={}
	Deletion Unstructured `json:"deletion,omitempty"`
	// Platform settings of the original.
	// +effect=no effect +example={}
	Platform Unstructured `json:"platform,omitempty"`
	// Pro is accepted and has no effect.
	// +effect=no effect
	Pro bool `json:"pro,omitempty"`
	// Plugin is the older form of plugins.
	// +effect=no effect +example={}
	Plugin Unstructured `json:"plugin,omitempty"`
	// Global values of Helm's charts.
	// +effect=no effect +example={}
	Global Unstructured `json:"global,omitempty"`
	// ServiceCIDR is the place that networking.serviceCIDR once had. It must be empty.
	// +effect=no effect +example=''
	ServiceCIDR string `json:"serviceCIDR,omitempty"`
	// Plugins of the original's syncer.
	// +effect=no effect +example={}
	Plugins Unstructured `json:"plugins,omitempty"`
}

// PrivateNodes holds the settings of the cluster's own machines.
type PrivateNodes struct {
	// Enabled must be true: Argosy knows no other kind of cluster.
	// +at=control plane +effect=never changes +example=true
	Enabled bool `json:"enabled"`
	// ImportNodeBinaries takes node bundles from the control plane's image. It applies to hosted control planes.
	// +at=control plane +effect=replaces the control plane's pods
	ImportNodeBinaries bool `json:"importNodeBinaries"`
	// Kubelet settings for all nodes.
	Kubelet Kubelet `json:"kubelet,omitzero"`
	// AutoUpgrade is how nodes follow the control plane, and where their binaries are and come from.
	// +at=plugin +effect=with the next workflow
	AutoUpgrade AutoUpgrade `json:"autoUpgrade,omitzero"`
	// JoinNode is how a machine becomes a node.
	// +at=machine +effect=needs a rejoin
	JoinNode JoinNode `json:"joinNode,omitzero"`

	// CNI is the older name of deploy.cni. Once parsed it is empty and deploy.cni holds its content.
	// +at=cluster +effect=applies to the addon
	CNI CNI `json:"cni,omitzero"`
	// KubeProxy is the older name of deploy.kubeProxy. Once parsed it is empty and deploy.kubeProxy holds its content.
	// +at=cluster +effect=applies to the addon
	KubeProxy KubeProxy `json:"kubeProxy,omitzero"`
	// LocalPathProvisioner is the older name of deploy.localPathProvisioner. Once parsed it is empty and
	// deploy.localPathProvisioner holds its content.
	// +at=cluster +effect=applies to the addon
	LocalPathProvisioner LocalPathProvisioner `json:"localPathProvisioner,omitzero"`

	// AutoNodes would create machines through the original's platform. It must be empty: machines are listed in
	// argosy.yaml.
	// +effect=no effect +example=[]
	AutoNodes any `json:"autoNodes,omitempty"`
	// VPN would tunnel node traffic through the original's platform. It may not be on.
	// +effect=no effect
	VPN VPN `json:"vpn,omitzero"`
	// Daemon would run a resident agent on each node. It may not be on.
	// +effect=no effect
	Daemon Daemon `json:"daemon,omitzero"`
	// DefaultProfile would name a node profile of the original's platform. It must be empty.
	// +effect=no effect +example=''
	DefaultProfile string `json:"defaultProfile,omitempty"`
}

// Kubelet settings for all nodes.
type Kubelet struct {
	// CgroupDriver is systemd or cgroupfs. Default: that of the cluster's kubelet-config.
	// +at=machine +effect=needs a rejoin +example=systemd
	CgroupDriver string `json:"cgroupDriver,omitempty" enum:"systemd,cgroupfs"`
	// Config is merged into the KubeletConfiguration (kubelet.config.k8s.io/v1beta1) of all nodes. In a cluster that
	// exists already only cgroupDriver has an effect here: its kubelet-config is not Argosy's.
	// +at=machine +effect=restarts kubelet +example={maxPods: 200}
	Config Unstructured `json:"config,omitempty"`
}

// AutoUpgrade is how nodes follow the control plane's version.
type AutoUpgrade struct {
	// Enabled lets workflow scheduled-upgrade upgrade nodes after the control plane. Workflow upgrade, which a person
	// submits, always does.
	Enabled bool `json:"enabled"`
	// Image of the pod that upgrades a machine which SSH does not reach. Default: controlPlane.image of argosy.yaml,
	// which is the plugin's own image.
	// +example=registry.example.com/argosy:v1
	Image string `json:"image,omitempty"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// NodeSelector are labels that a node has to have to be upgraded; empty means all.
	// +example={zone: rack-1}
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// BundleRepository is the URL below which <version>/kubernetes-<version>-<arch>.tar.gz lies.
	// +at=plugin +effect=with the next workflow +example=https://bundles.example.com/kubernetes
	BundleRepository string `json:"bundleRepository,omitempty"`
	// BinariesPath is where kubeadm, kubelet, containerd and the like live on a machine.
	// +at=machine +effect=restarts containerd +example=/opt/kubernetes/bin
	BinariesPath string `json:"binariesPath,omitempty" format:"path"`
	// CNIBinariesPath is where CNI plugins live on a machine.
	// +at=machine +effect=restarts containerd +example=/opt/kubernetes/cni
	CNIBinariesPath string `json:"cniBinariesPath,omitempty" format:"path"`
	// Concurrency is how many nodes are upgraded at once, as a number or as a percentage of those that are to be,
	// rounded down, and 1 at least. upgrade.maxUnavailable of argosy.yaml holds instead of it.
	// +example=3
	Concurrency Amount `json:"concurrency,omitempty"`
	// PodSecurityContext of the upgrade pod, a Kubernetes PodSecurityContext.
	// +example={runAsUser: 0}
	PodSecurityContext Unstructured `json:"podSecurityContext,omitempty"`
	// ContainerSecurityContext of the upgrade pod's container, a Kubernetes SecurityContext.
	// +example={privileged: true}
	ContainerSecurityContext Unstructured `json:"containerSecurityContext,omitempty"`
}

// JoinNode is how a machine becomes a node.
type JoinNode struct {
	// PreInstallCommands run on the machine before anything is installed, each by /bin/sh -e from a file of its own,
	// for at most join.commandTimeout of argosy.yaml, and once in a join: one that has succeeded is not run again when
	// the join goes on after an interruption.
	// +example=["apt-get install -y nfs-common"]
	PreInstallCommands []string `json:"preInstallCommands,omitempty"`
	// PreJoinCommands run on the machine right before kubeadm join, in the same way.
	// +example=["modprobe ip_vs"]
	PreJoinCommands []string `json:"preJoinCommands,omitempty"`
	// PostJoinCommands run on the machine when its kubelet is healthy, in the same way.
	// +example=['logger "$ARGOSY_MACHINE joined"']
	PostJoinCommands []string `json:"postJoinCommands,omitempty"`
	// Containerd is the container runtime.
	Containerd Containerd `json:"containerd,omitzero"`
	// CACertPath is where kubeadm keeps the cluster's certificate authority on the machine.
	// +example=/etc/kubernetes/pki/ca.crt
	CACertPath string `json:"caCertPath,omitempty" format:"path"`
	// SkipPhases of kubeadm join, sub-phases with a slash. kubelet-start, which makes the machine a node, is not one of
	// them.
	// +example=[preflight]
	SkipPhases []string `json:"skipPhases,omitempty"`
	// NodeRegistration is how the node registers itself.
	NodeRegistration NodeRegistration `json:"nodeRegistration,omitzero"`
}

// Containerd is the container runtime of a machine.
type Containerd struct {
	// Enabled installs and configures containerd. False: the machine's own runtime is checked, used, and never touched;
	// then neither registry nor pauseImage may be set.
	Enabled bool `json:"enabled"`
	// Registry is how containerd reaches image registries.
	// +effect=none
	Registry Registry `json:"registry,omitzero"`
	// ImportImages are the sources of images that are imported before the machine joins: a file on the machine or a
	// folder, whose .tar, .tar.gz and .tar.zst files are taken; an http or https URL of such a file, with "#sha256="
	// and its digest behind it if you know it; or oci:// and an image in a registry. The plugin fetches sources that
	// are no files on the machine.
	// +effect=with the next workflow
	// +example=[/srv/images, "https://files.example.com/app.tar", "oci://registry.example.com/app:v1"]
	ImportImages []string `json:"importImages,omitempty"`
	// PauseImage is the image of every pod's pause container. Default: the bundle's own.
	// +effect=restarts containerd +example=registry.k8s.io/pause:3.10
	PauseImage string `json:"pauseImage,omitempty"`
}

// Registry is how containerd reaches image registries.
type Registry struct {
	// ConfigPath is the folder with one hosts.toml per registry. Default: /etc/containerd/certs.d.
	// +effect=restarts containerd +example=/etc/containerd/certs.d
	ConfigPath string `json:"configPath,omitempty" format:"path"`
	// Mirrors by registry host, e.g. "docker.io" or "registry.example.com:5000"; _default stands for every registry
	// that has no entry.
	// +names=registry
	Mirrors map[string]Mirror `json:"mirrors,omitempty"`
	// Auth by registry host. The logins can be read by all who can read the document: prefer
	// registries.secret of argosy.yaml.
	// +names=registry +effect=restarts containerd
	Auth map[string]RegistryAuth `json:"auth,omitempty"`
}

// Mirror is one registry and its mirrors.
type Mirror struct {
	// Server is asked when no host answers, e.g. https://registry-1.docker.io.
	// +example=https://registry-1.docker.io
	Server string `json:"server,omitempty"`
	// CACert are paths of certificate authorities on the machine.
	// +example=[/etc/ssl/certs/registry-ca.crt]
	CACert []string `json:"caCert,omitempty"`
	// SkipVerify accepts any certificate and plain HTTP.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// Capabilities are pull, resolve and push; empty means pull and resolve.
	// +example=[pull, resolve]
	Capabilities []string `json:"capabilities,omitempty" items:"pull,resolve,push"`
	// OverridePath is for a server whose URL holds the whole path of the API.
	OverridePath bool `json:"overridePath,omitempty"`
	// Hosts that are asked first, in order.
	Hosts []MirrorHost `json:"hosts,omitempty"`
}

// MirrorHost is a mirror of a registry.
type MirrorHost struct {
	// Server, e.g. http://192.168.31.250:5000.
	// +example=https://mirror.example.com
	Server string `json:"server,omitempty"`
	// CACert are paths of certificate authorities on the machine.
	// +example=[/etc/ssl/certs/registry-ca.crt]
	CACert []string `json:"caCert,omitempty"`
	// SkipVerify accepts any certificate and plain HTTP.
	SkipVerify bool `json:"skipVerify,omitempty"`
	// Capabilities are pull, resolve and push; empty means pull and resolve.
	// +example=[pull, resolve]
	Capabilities []string `json:"capabilities,omitempty" items:"pull,resolve,push"`
	// OverridePath is for a server whose URL holds the whole path of the API.
	OverridePath bool `json:"overridePath,omitempty"`
}

// RegistryAuth is a login at a registry.
type RegistryAuth struct {
	// Username to log in with.
	// +example=puller
	Username string `json:"username,omitempty"`
	// Password of that user.
	// +example=…
	Password secret.Value `json:"password,omitzero"`
	// IdentityToken instead of user and password.
	// +example=…
	IdentityToken secret.Value `json:"identityToken,omitzero"`
	// Auth is user:password in base64, as in Docker's config.json.
	// +example=cHVsbGVyOmV4YW1wbGU=
	Auth secret.Value `json:"auth,omitzero"`
}

// NodeRegistration is how a node registers itself, as in kubeadm's JoinConfiguration.
type NodeRegistration struct {
	// CRISocket is the container runtime's socket, e.g. unix:///run/containerd/containerd.sock.
	// +example=unix:///run/containerd/containerd.sock
	CRISocket string `json:"criSocket,omitempty"`
	// KubeletExtraArgs go to the kubelet's command line. A name may occur more than once.
	// +effect=restarts kubelet
	KubeletExtraArgs []KubeletArg `json:"kubeletExtraArgs,omitempty"`
	// Taints of every node, beside those of its machine.
	// +at=cluster +effect=none
	Taints []Taint `json:"taints,omitempty"`
	// IgnorePreflightErrors of kubeadm, e.g. "Swap", or "all".
	// +example=[Swap]
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`
	// ImagePullPolicy of kubeadm: Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// KubeletArg is one argument of the kubelet.
type KubeletArg struct {
	// Name without its leading dashes.
	// +example=max-pods
	Name string `json:"name"`
	// Value of the argument.
	// +example="200"
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
	// +example=11343
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
	// +example=''
	PodSecurityStandard string `json:"podSecurityStandard,omitempty" enum:"privileged,baseline,restricted"`
	// ResourceQuota of the namespace.
	// +example={enabled: false}
	ResourceQuota Unstructured `json:"resourceQuota,omitempty"`
	// LimitRange of the namespace.
	// +example={enabled: false}
	LimitRange Unstructured `json:"limitRange,omitempty"`
	// NetworkPolicy around the pods of the control plane and its etcd.
	NetworkPolicy NetworkPolicy `json:"networkPolicy,omitzero"`
	// CentralAdmission webhooks of the original.
	// +example={}
	CentralAdmission Unstructured `json:"centralAdmission,omitempty"`
}
