package config

// MachineJoin is what one machine gets in place of, or beside, what vcluster.yaml says for all of them. Empty fields
// leave the value of all machines; Cluster.Settings says how the others are merged.
type MachineJoin struct {
	// BinariesPath instead of privateNodes.autoUpgrade.binariesPath.
	BinariesPath string `json:"binariesPath,omitempty" effect:"restarts containerd" example:"/opt/kubernetes/bin"`
	// CNIBinariesPath instead of privateNodes.autoUpgrade.cniBinariesPath.
	CNIBinariesPath string `json:"cniBinariesPath,omitempty" effect:"restarts containerd" example:"/opt/kubernetes/cni"`
	// PreInstallCommands run after those of all machines.
	PreInstallCommands []string `json:"preInstallCommands,omitempty" example:"[\"apt-get install -y nfs-common\"]"`
	// PreJoinCommands run after those of all machines.
	PreJoinCommands []string `json:"preJoinCommands,omitempty" example:"[\"modprobe ip_vs\"]"`
	// PostJoinCommands run after those of all machines.
	PostJoinCommands []string `json:"postJoinCommands,omitempty" example:"['logger \"$ARGOSY_MACHINE joined\"']"`
	// Containerd is the machine's container runtime.
	Containerd MachineContainerd `json:"containerd,omitzero"`
	// CACertPath instead of that of all machines.
	CACertPath string `json:"caCertPath,omitempty" example:"/etc/kubernetes/pki/ca.crt"`
	// SkipPhases of kubeadm join, beside those of all machines.
	SkipPhases []string `json:"skipPhases,omitempty" example:"[preflight]"`
	// NodeRegistration is how the node registers itself. Its labels and taints are the machine's own keys.
	NodeRegistration MachineRegistration `json:"nodeRegistration,omitzero"`
}

// MachineContainerd is the container runtime of one machine.
type MachineContainerd struct {
	// Enabled instead of that of all machines. False: a runtime that is there already is used, and no registry setting
	// of all machines, nor their pause image, reaches it.
	Enabled *bool `json:"enabled,omitempty" example:"false"`
	// Registry says how this machine reaches image registries.
	Registry Registry `json:"registry,omitzero" effect:"none"`
	// ImportImages are imported after those of all machines.
	ImportImages []string `json:"importImages,omitempty" effect:"with the next workflow" example:"[/srv/images, \"https://files.example.com/app.tar\", \"oci://registry.example.com/app:v1\"]"`
	// PauseImage instead of that of all machines.
	PauseImage string `json:"pauseImage,omitempty" effect:"restarts containerd" example:"registry.k8s.io/pause:3.10"`
}

// MachineRegistration is how one machine's node registers itself.
type MachineRegistration struct {
	// CRISocket instead of that of all machines.
	CRISocket string `json:"criSocket,omitempty" example:"unix:///run/containerd/containerd.sock"`
	// KubeletExtraArgs beside those of all machines. A name that stands here replaces every argument of that name.
	KubeletExtraArgs []KubeletArg `json:"kubeletExtraArgs,omitempty" effect:"restarts kubelet"`
	// IgnorePreflightErrors of kubeadm, beside those of all machines.
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty" example:"[Swap]"`
	// ImagePullPolicy instead of that of all machines.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
}

// alone is what a machine gives, in the form of what is given for all of them; containerd counts as enabled where the
// machine does not say.
func (j MachineJoin) alone() JoinNode {
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
