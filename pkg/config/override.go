package config

// MachineJoin holds settings of one machine that replace or extend those of all machines in vcluster.yaml. Empty fields
// keep the value of all machines; Cluster.Settings documents how the others are merged.
type MachineJoin struct {
	// BinariesPath instead of privateNodes.autoUpgrade.binariesPath.
	// +effect=restarts containerd +example=/opt/kubernetes/bin
	BinariesPath string `json:"binariesPath,omitempty" format:"path"`
	// CNIBinariesPath instead of privateNodes.autoUpgrade.cniBinariesPath.
	// +effect=restarts containerd +example=/opt/kubernetes/cni
	CNIBinariesPath string `json:"cniBinariesPath,omitempty" format:"path"`
	// PreInstallCommands run after those of all machines.
	// +example=["apt-get install -y nfs-common"]
	PreInstallCommands []string `json:"preInstallCommands,omitempty"`
	// PreJoinCommands run after those of all machines.
	// +example=["modprobe ip_vs"]
	PreJoinCommands []string `json:"preJoinCommands,omitempty"`
	// PostJoinCommands run after those of all machines.
	// +example=['logger "$ARGOSY_MACHINE joined"']
	PostJoinCommands []string `json:"postJoinCommands,omitempty"`
	// Containerd is the machine's container runtime.
	Containerd MachineContainerd `json:"containerd,omitzero"`
	// CACertPath instead of that of all machines.
	// +example=/etc/kubernetes/pki/ca.crt
	CACertPath string `json:"caCertPath,omitempty" format:"path"`
	// SkipPhases of kubeadm join, beside those of all machines.
	// +example=[preflight]
	SkipPhases []string `json:"skipPhases,omitempty"`
	// NodeRegistration is how the node registers itself. Its labels and taints are the machine's own keys.
	NodeRegistration MachineRegistration `json:"nodeRegistration,omitzero"`
}

// MachineContainerd is the container runtime of one machine.
type MachineContainerd struct {
	// Enabled instead of that of all machines. False: the installed runtime is used, and neither the registry settings
	// nor the pause image of all machines apply to it.
	// +example=false
	Enabled *bool `json:"enabled,omitempty"`
	// Registry is how this machine reaches image registries.
	// +effect=none
	Registry Registry `json:"registry,omitzero"`
	// ImportImages are imported after those of all machines.
	// +effect=with the next workflow
	// +example=[/srv/images, "https://files.example.com/app.tar", "oci://registry.example.com/app:v1"]
	ImportImages []string `json:"importImages,omitempty"`
	// PauseImage instead of that of all machines.
	// +effect=restarts containerd +example=registry.k8s.io/pause:3.10
	PauseImage string `json:"pauseImage,omitempty"`
}

// MachineRegistration is how one machine's node registers itself.
type MachineRegistration struct {
	// CRISocket instead of that of all machines.
	// +example=unix:///run/containerd/containerd.sock
	CRISocket string `json:"criSocket,omitempty"`
	// KubeletExtraArgs beside those of all machines. A name in this list replaces every argument of that name.
	// +effect=restarts kubelet
	KubeletExtraArgs []KubeletArg `json:"kubeletExtraArgs,omitempty"`
	// IgnorePreflightErrors of kubeadm, beside those of all machines.
	// +example=[Swap]
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`
	// ImagePullPolicy instead of that of all machines.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// joinNode converts the settings of one machine into the type of those of all machines. containerd counts as enabled
// unless the machine disables it.
func (j MachineJoin) joinNode() JoinNode {
	r := j.NodeRegistration
	return JoinNode{
		PreInstallCommands: j.PreInstallCommands, PreJoinCommands: j.PreJoinCommands,
		PostJoinCommands: j.PostJoinCommands,
		Containerd: Containerd{
			Enabled: j.Containerd.Enabled == nil || *j.Containerd.Enabled, Registry: j.Containerd.Registry,
			ImportImages: j.Containerd.ImportImages, PauseImage: j.Containerd.PauseImage,
		},
		CACertPath: j.CACertPath, SkipPhases: j.SkipPhases,
		NodeRegistration: NodeRegistration{
			CRISocket: r.CRISocket, KubeletExtraArgs: r.KubeletExtraArgs,
			IgnorePreflightErrors: r.IgnorePreflightErrors, ImagePullPolicy: r.ImagePullPolicy,
		},
	}
}
