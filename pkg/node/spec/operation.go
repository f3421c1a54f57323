// Package spec has the requests of the plugin to a machine and the machine's answers: the only types that both sides
// share. It imports neither Kubernetes nor SSH, so that argosy-node stays small.
package spec

import "time"

// Folders and files on a machine. Everything that Argosy keeps there lies beneath Root.
const (
	// Root is Argosy's own folder on a machine, mode 0700.
	Root = "/var/lib/argosy"
	// OperationsDir holds one folder per operation: spec.json, status.json, log.
	OperationsDir = Root + "/ops"
	// FeedSocket, in an operation's folder, is the socket at which it receives connections with archives, while it
	// waits for any.
	FeedSocket = "feed"
	// BundlesDir holds bundles while they arrive: <sha256>.tar.gz.partial grows, then loses its suffix.
	BundlesDir = Root + "/bundles"
	// RecordFile has the Record.
	RecordFile = Root + "/node.json"
	// KubeletFile holds the kubelet's last settings, HooksFile which of the user's commands ran, and PreviousFile the
	// list of files that an upgrade kept.
	KubeletFile  = Root + "/kubelet.json"
	HooksFile    = Root + "/hooks.json"
	PreviousFile = Root + "/previous.json"
	// ImagesFile lists the archives that were imported on this machine, with their images.
	ImagesFile = Root + "/images.json"
	// LockFile is locked by the one operation that runs on the machine.
	LockFile = Root + "/lock"
	// StartLockFile is locked while it is decided whether an operation runs, which is quick.
	StartLockFile = Root + "/start.lock"
)

// Kind names an operation.
type Kind string

// The operations.
const (
	KindJoin  Kind = "join"
	KindReset Kind = "reset"
	// KindImages imports images into the container runtime of a machine that is a node already.
	KindImages Kind = "images"
	// KindStage receives the bundle and images of an upgrade, and changes nothing that runs.
	KindStage Kind = "stage"
	// KindUpgrade changes a node's version of Kubernetes.
	KindUpgrade Kind = "upgrade"
	// KindRollback restores a machine to its state before the last upgrade.
	KindRollback Kind = "rollback"
)

// Operation is one piece of work on one machine. Its ID depends only on cluster, machine, kind and a digest of the
// desired state, never on the caller, so retries and resubmits find the same operation.
type Operation struct {
	ID      string `json:"id"`
	Kind    Kind   `json:"kind"`
	Cluster string `json:"cluster"`
	Machine string `json:"machine"`
	// Timeout bounds the operation on the machine, from its start there.
	Timeout Duration `json:"timeout"`
	// Admission has a join wait, before it first asks the cluster's API server with its token, until the plugin admits
	// it. Like Timeout it is no part of the ID.
	Admission bool `json:"admission,omitempty"`
	// Join is the desired state, also of a stage, an upgrade and a rollback; a rollback uses only the node's name, its
	// cluster and the path of its binaries.
	Join   *Join   `json:"join,omitempty"`
	Reset  *Reset  `json:"reset,omitempty"`
	Images *Images `json:"images,omitempty"`
	// Spread has the bundle and the archives come in pieces, from the plugin and from other machines, and pieces that
	// are here serve those. It is no part of the desired state.
	Spread bool `json:"spread,omitempty"`
	// Secrets are removed from the machine's disk as soon as they are used.
	Secrets Secrets `json:"secrets,omitzero"`
}

// Join is the desired state of a machine: a node of one cluster at one version.
type Join struct {
	// KubernetesVersion as "v1.34.4".
	KubernetesVersion string `json:"kubernetesVersion"`
	// NodeName is the Kubernetes name, a DNS-1123 subdomain.
	NodeName string `json:"nodeName"`
	// Server is the API server's address as the machine sees it, "https://host:port".
	Server string `json:"server"`
	// CACert is the cluster's certificate authority, PEM. It is how the machine knows the cluster: discovery pins it.
	CACert string `json:"caCert"`
	// ClusterUID is the UID of the cluster's kube-system namespace: which cluster this is, whatever its address.
	ClusterUID      string `json:"clusterUID"`
	Bundle          Bundle `json:"bundle"`
	BinariesPath    string `json:"binariesPath"`
	CNIBinariesPath string `json:"cniBinariesPath"`

	Containerd   Containerd   `json:"containerd"`
	Registration Registration `json:"registration"`
	Requirements Requirements `json:"requirements"`
	// Hooks are the user's own commands.
	Hooks Hooks `json:"hooks,omitzero"`
	// ImportImages are imported before the machine joins, in order.
	ImportImages []ImageSource `json:"importImages,omitempty"`
	// KubeletConfig is the cluster's kubelet-config, a KubeletConfiguration in YAML, as it is now. A machine that
	// joined with another one takes it over when it is reconciled.
	KubeletConfig string `json:"kubeletConfig,omitempty"`
	// Address is the IP address by which the machine is reached over SSH; empty for a name.
	Address string `json:"address,omitempty"`
	// Flannel is set when flannel, an addon of the cluster, makes the network of pods. Otherwise that is left to
	// others, such as the machine's owner.
	Flannel bool `json:"flannel,omitempty"`
	// VXLANPort is the UDP port by which flannel's VXLAN carries packets; 0 where flannel is not, or has no VXLAN.
	VXLANPort int `json:"vxlanPort,omitempty"`
	// PodNetworks are the cluster's networks of pods, as CIDRs; empty where Argosy does not host the cluster.
	PodNetworks []string `json:"podNetworks,omitempty"`
}

// Hooks are commands of the user's, each run by /bin/sh -e from a file of its own.
type Hooks struct {
	// PreInstall run before anything is installed, PreJoin right before kubeadm join, PostJoin after the node is
	// healthy.
	PreInstall []string `json:"preInstall,omitempty"`
	PreJoin    []string `json:"preJoin,omitempty"`
	PostJoin   []string `json:"postJoin,omitempty"`
	// Timeout bounds each command.
	Timeout Duration `json:"timeout,omitempty"`
}

// Images is a machine whose container runtime should hold images.
type Images struct {
	// Sources are imported in order; one that fails does not keep the others from being imported.
	Sources []ImageSource `json:"sources"`
	// BinariesPath is where the join installed ctr.
	BinariesPath string `json:"binariesPath"`
	// CRISocket is the runtime's socket; empty for Argosy's containerd.
	CRISocket string `json:"criSocket,omitempty"`
	// ClusterUID is the UID of the cluster whose node the machine has to be.
	ClusterUID string `json:"clusterUID"`
}

// ImageSource is a source of images: files on the machine, or an archive that the plugin sends. Exactly one of Path
// and Sent is set.
type ImageSource struct {
	// Name is its name in messages: the path, URL or image as the user wrote it.
	Name string `json:"name"`
	// Path is a file on the machine, or a folder whose .tar, .tar.gz and .tar.zst files are imported.
	Path string `json:"path,omitempty"`
	// Sent is an archive that the plugin streams.
	Sent *SentImages `json:"sent,omitempty"`
}

// SentImages is an archive that the plugin streams to the machine while the operation waits for it.
type SentImages struct {
	// Key identifies the content: an archive that was imported under a key is not asked for again while its images are
	// there.
	Key string `json:"key"`
	// SHA256 of the archive, hex; empty when only the digests inside can be checked.
	SHA256 string `json:"sha256,omitempty"`
	// Size in bytes; 0 when unknown.
	Size int64 `json:"size,omitempty"`
	// Images are references and the digests that they have to lead to, where the source tells before it is read; a
	// machine that has them all is not sent anything.
	Images map[string]string `json:"images,omitempty"`
}

// Reset is the desired state of a machine that is no node any more. It has the cluster whose node the machine may be,
// and the paths of files to remove.
type Reset struct {
	// ClusterUID is the UID of the kube-system namespace of the cluster that the machine leaves; a machine that was
	// joined to another one is refused. Empty when the cluster is gone: then the machine's record must name the
	// operation's cluster.
	ClusterUID string `json:"clusterUID,omitempty"`
	// CACert is that cluster's certificate authority, PEM; empty when the cluster is gone.
	CACert          string `json:"caCert,omitempty"`
	BinariesPath    string `json:"binariesPath"`
	CNIBinariesPath string `json:"cniBinariesPath"`
	// CACertPath is where the join was told to put the CA; empty for kubeadm's own place.
	CACertPath string `json:"caCertPath,omitempty"`
	// VolumesPath is the folder in which local-path-provisioner made volumes. They have users' data, and stay unless
	// RemoveVolumes is set.
	VolumesPath   string `json:"volumesPath,omitempty"`
	RemoveVolumes bool   `json:"removeVolumes,omitempty"`
}

// Bundle is the archive that carries a node's binaries, in the layout "release/kubelet", "release/cni/bin/bridge", ….
type Bundle struct {
	// Name is the archive's file name, e.g. "kubernetes-v1.34.4-amd64.tar.gz"; its ending tells the compression.
	Name string `json:"name"`
	// SHA256 of the archive, hex. Never empty: without a published digest, and only where the user allows it, the
	// plugin takes the digest of its own download.
	SHA256 string `json:"sha256"`
	// Size in bytes; 0 when unknown.
	Size int64 `json:"size,omitempty"`
	// URL to download from when the machine pulls; empty when the plugin pushes to BundlesDir.
	URL string `json:"url,omitempty"`
	// CACert is a PEM certificate authority for URL's TLS, beside the system's.
	CACert string `json:"caCert,omitempty"`
	// Authenticated is set when URL needs the operation's bootstrap token, as a control plane's bundle server does.
	Authenticated bool `json:"authenticated,omitempty"`
}

// Containerd has the settings of the container runtime.
type Containerd struct {
	// PauseImage overrides the bundle's own pause-image.txt.
	PauseImage string `json:"pauseImage,omitempty"`
	// CgroupDriver is "systemd" or "cgroupfs"; containerd's must equal the kubelet's.
	CgroupDriver string `json:"cgroupDriver"`
	// External is a runtime that is there already: it is checked and never touched.
	External bool `json:"external,omitempty"`
	// Registry has the settings by which containerd reaches image registries.
	Registry Registry `json:"registry,omitzero"`
}

// Registry has the settings by which containerd reaches image registries.
type Registry struct {
	// ConfigPath is the folder with a hosts.toml for each registry; empty for /etc/containerd/certs.d.
	ConfigPath string `json:"configPath,omitempty"`
	// Mirrors by the registry's host, with its port where it has one.
	Mirrors map[string]Mirror `json:"mirrors,omitempty"`
}

// Mirror is one registry and the hosts that stand in for it, as containerd's hosts.toml has them.
type Mirror struct {
	MirrorHost
	// Hosts are asked first, in order.
	Hosts []MirrorHost `json:"hosts,omitempty"`
}

// MirrorHost is one address of a registry.
type MirrorHost struct {
	Server       string   `json:"server,omitempty"`
	CACert       []string `json:"caCert,omitempty"`
	SkipVerify   bool     `json:"skipVerify,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
	OverridePath bool     `json:"overridePath,omitempty"`
}

// Registration is how the node registers itself.
type Registration struct {
	CRISocket             string   `json:"criSocket,omitempty"`
	KubeletExtraArgs      []Arg    `json:"kubeletExtraArgs,omitempty"`
	Taints                []Taint  `json:"taints,omitempty"`
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`
	ImagePullPolicy       string   `json:"imagePullPolicy,omitempty"`
	SkipPhases            []string `json:"skipPhases,omitempty"`
	CACertPath            string   `json:"caCertPath,omitempty"`
}

// Arg is one command line argument without its dashes. Duplicates are allowed, their order is kept.
type Arg struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Taint is a node taint.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"`
}

// Requirements are the limits that preflight checks.
type Requirements struct {
	// MinDiskBytes free below /var/lib and the binaries path.
	MinDiskBytes int64 `json:"minDiskBytes"`
	// MinMemoryBytes of RAM in all.
	MinMemoryBytes int64 `json:"minMemoryBytes"`
	// MaxClockSkew between the machine and the API server.
	MaxClockSkew Duration `json:"maxClockSkew"`
}

// Secrets travel in the operation and nowhere else. Printing them shows nothing; only encoding/json, which writes the
// file with mode 0600, gives them away.
type Secrets struct {
	// BootstrapToken is "id.secret", valid for minutes and for this machine alone.
	BootstrapToken string `json:"bootstrapToken,omitempty"`
	// Registries are logins by the registry's host.
	Registries map[string]RegistryLogin `json:"registries,omitempty"`
}

// RegistryLogin is a login at an image registry: user and password, or a token, or both in Auth as Docker writes it.
type RegistryLogin struct {
	Username      string `json:"username,omitempty"`
	Password      string `json:"password,omitempty"`
	IdentityToken string `json:"identityToken,omitempty"`
	Auth          string `json:"auth,omitempty"`
}

// String keeps a login out of logs and messages.
func (RegistryLogin) String() string { return "[redacted]" }

// GoString keeps a login out of %#v.
func (RegistryLogin) GoString() string { return "[redacted]" }

// Empty reports whether there is no secret.
func (s Secrets) Empty() bool { return s.BootstrapToken == "" && len(s.Registries) == 0 }

// IsZero is called by encoding/json for omitzero.
func (s Secrets) IsZero() bool { return s.Empty() }

// String keeps secrets out of logs and messages.
func (Secrets) String() string { return "[redacted]" }

// GoString keeps secrets out of %#v.
func (Secrets) GoString() string { return "[redacted]" }

// Duration is a time.Duration that reads and writes as "30s" in JSON.
type Duration time.Duration

// MarshalText writes Go's form, e.g. "1m30s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's form.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}
