package spec

import "time"

// Facts is the output of `argosy-node inspect`, so that a plan costs one exec per machine.
type Facts struct {
	Hostname string `json:"hostname"`
	OS       string `json:"os"`   // PRETTY_NAME of os-release
	Arch     string `json:"arch"` // Go's name: amd64, arm64
	Kernel   string `json:"kernel"`
	// CgroupVersion is 1 or 2.
	CgroupVersion int       `json:"cgroupVersion"`
	CPUs          int       `json:"cpus"`
	MemoryBytes   int64     `json:"memoryBytes"`
	DiskFreeBytes int64     `json:"diskFreeBytes"` // below /var/lib
	Time          time.Time `json:"time"`
	Systemd       bool      `json:"systemd"`
	Addresses     []string  `json:"addresses"`
	// MachineID is systemd's, which the kubelet reports too; ProductUUID is the firmware's. Either is empty if
	// unknown.
	MachineID   string `json:"machineID,omitempty"`
	ProductUUID string `json:"productUUID,omitempty"`
	// Interfaces are those that have addresses, without loopback and those of pods.
	Interfaces []Interface `json:"interfaces,omitempty"`
	// SELinux is "enforcing" or "permissive"; empty without it. AppArmor is set when it is on.
	SELinux  string `json:"selinux,omitempty"`
	AppArmor bool   `json:"appArmor,omitempty"`

	Kubelet    Kubelet    `json:"kubelet"`
	Containerd Containers `json:"containerd"`
	// Port10250 is the process that listens there, e.g. "kubelet (pid 812)"; empty when the port is free.
	Port10250 string `json:"port10250,omitempty"`

	// Working is the ID of the operation that holds the machine's lock right now; empty when none does.
	Working string `json:"working,omitempty"`
	// Plan is the plan of the machine's operation in Question.Operations, or every problem. Nil when there is none.
	Plan *Status `json:"plan,omitempty"`
	// Reached reports whether Question.Reach answered; nil when it was not tried.
	Reached *bool `json:"reached,omitempty"`

	// Record is the record of the node; nil when Argosy never joined this machine.
	Record *Record `json:"record,omitempty"`
	// Unreadable are damaged files of Argosy's own state, as after a loss of power. With RecordFile among them, the
	// machine may be any cluster's node.
	Unreadable []string `json:"unreadable,omitempty"`
	// Operations are the last ones on the machine, newest first, at most ten.
	Operations []Status `json:"operations,omitempty"`
}

// Interface is one of the machine's network interfaces.
type Interface struct {
	Name      string   `json:"name"`
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses"`
	// Default4 and Default6 are set if a default route of that family leads through it.
	Default4 bool `json:"default4,omitempty"`
	Default6 bool `json:"default6,omitempty"`
}

// Kubelet describes the machine's kubelet, Argosy's or not.
type Kubelet struct {
	Present bool   `json:"present"` // a unit or /etc/kubernetes/kubelet.conf exists
	Active  bool   `json:"active"`
	Version string `json:"version,omitempty"`
	// Server is the API server that /etc/kubernetes/kubelet.conf names, "https://host:port".
	Server string `json:"server,omitempty"`
	// NodeName from the client certificate's subject, system:node:<name>.
	NodeName string `json:"nodeName,omitempty"`
	// CASHA256 is the hex digest of the DER of the CA in kubelet.conf: which cluster it trusts.
	CASHA256 string `json:"caSHA256,omitempty"`
	// Ours: the unit file carries Argosy's mark.
	Ours bool `json:"ours"`
}

// Containers describes the machine's container runtime.
type Containers struct {
	Present bool   `json:"present"`
	Active  bool   `json:"active"`
	Version string `json:"version,omitempty"`
	Ours    bool   `json:"ours"`
}

// Record is /var/lib/argosy/node.json: the node that this machine is, written when a join succeeded.
type Record struct {
	Cluster    string    `json:"cluster"`
	ClusterUID string    `json:"clusterUID"`
	Machine    string    `json:"machine"`
	NodeName   string    `json:"nodeName"`
	Version    string    `json:"version"`
	Bundle     string    `json:"bundle"` // sha256
	Joined     time.Time `json:"joined"`
	// AtJoin are settings of the join that hold until the next one; empty on machines that joined before they were
	// kept.
	AtJoin AtJoin `json:"atJoin,omitzero"`
}

// AtJoin are settings that only a join applies.
type AtJoin struct {
	CRISocket  string `json:"criSocket,omitempty"`
	CACertPath string `json:"caCertPath,omitempty"`
	// Hooks is a digest of the commands; empty for none.
	Hooks string `json:"hooks,omitempty"`
}
