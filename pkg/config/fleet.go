package config

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The Fleet document's type.
const (
	fleetAPIVersion = "argosy.dev/v1alpha1"
	fleetKind       = "Fleet"
)

// Fleet is argosy.yaml. It holds settings that the schema of vcluster.yaml has no keys for: the machines, how to reach
// them, where their binaries come from, and the limits within which Argosy works on them.
type Fleet struct {
	// APIVersion is "argosy.dev/v1alpha1".
	// +effect=no effect +example=argosy.dev/v1alpha1
	APIVersion string `json:"apiVersion" enum:"argosy.dev/v1alpha1"`
	// Kind is "Fleet".
	// +effect=no effect +example=Fleet
	Kind string `json:"kind" enum:"Fleet"`
	// Cluster names an existing cluster that the machines join. Left out, Argosy provisions the cluster.
	// +at=machine +effect=needs a rejoin
	Cluster ClusterTarget `json:"cluster,omitzero"`
	// ControlPlane holds settings of provisioning that vcluster.yaml has no keys for.
	// +at=plugin +effect=with the next workflow
	ControlPlane HostedControlPlane `json:"controlPlane,omitzero"`
	// SSH is how machines are reached; a machine may override each field.
	// +at=plugin +effect=with the next workflow
	SSH SSH `json:"ssh,omitzero"`
	// Machines are the hosts. Names and addresses are unique. A cluster that Argosy provisions may get them later.
	// +at=plugin +effect=with the next workflow
	Machines []Machine `json:"machines,omitempty"`
	// Bundles is where node bundles come from and how they are verified.
	// +at=plugin +effect=with the next workflow
	Bundles Bundles `json:"bundles,omitzero"`
	// Join holds requirements that machines must meet before Argosy touches them.
	// +at=machine +effect=with the next workflow
	Join JoinPolicy `json:"join,omitzero"`
	// Drain is how pods leave a machine that is taken out of service.
	// +at=cluster +effect=with the next workflow
	Drain Drain `json:"drain,omitzero"`
	// Upgrade is how machines are upgraded to another version of Kubernetes.
	// +at=plugin +effect=with the next workflow
	Upgrade Upgrade `json:"upgrade,omitzero"`
	// Registries is how image registries are reached, and with which logins.
	// +at=plugin +effect=with the next workflow
	Registries Registries `json:"registries,omitzero"`
	// Flannel holds settings of the pod network that deploy.cni.flannel of vcluster.yaml has no keys for. Until every
	// machine's flannel has a change, pods of different machines do not reach each other.
	// +at=cluster +effect=applies to the addon
	Flannel FlannelNetwork `json:"flannel,omitzero"`
	// Limits bound how many machines are worked on at once, and for how long.
	// +at=plugin +effect=with the next workflow
	Limits Limits `json:"limits,omitzero"`
}

// ClusterTarget is an existing cluster, given by a kubeconfig.
type ClusterTarget struct {
	// KubeconfigSecret names a Secret beside the ConfigMap; its key "value", "kubeconfig" or "config" holds an admin
	// kubeconfig. Empty: Argosy provisions the cluster and writes the Secret <cluster>-kubeconfig itself.
	// +example=team-a-kubeconfig
	KubeconfigSecret string `json:"kubeconfigSecret,omitempty"`
	// Endpoint is host:port of the API server as the machines see it; default: the kubeconfig's server. A cluster that
	// Argosy provisions has controlPlane.endpoint of vcluster.yaml instead.
	// +example=api.team-a.example.com:6443
	Endpoint string `json:"endpoint,omitempty"`
}

// HostedControlPlane is a control plane in pods of the host cluster.
type HostedControlPlane struct {
	// Timeout bounds the wait for the control plane to answer. Default 10m.
	// +example=15m
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// Image of Argosy itself, for the bundle server and the backup jobs beside the control plane. Default:
	// the plugin's own.
	// +at=control plane +effect=replaces the control plane's pods +example=registry.example.com/argosy:v1
	Image string `json:"image,omitempty"`
	// Ephemeral accepts a deployed etcd of one member whose state ends with its pod, for trying things out.
	// +example=true
	Ephemeral bool `json:"ephemeral,omitempty"`
	// Audit has the API server log requests.
	// +at=control plane +effect=replaces the control plane's pods
	Audit Audit `json:"audit,omitzero"`
	// Encryption encrypts resources in the store.
	// +at=control plane +effect=replaces the control plane's pods
	Encryption Encryption `json:"encryption,omitzero"`
	// Archives is how backups are encrypted.
	Archives Archives `json:"archives,omitzero"`
}

// SSH is how to reach a machine. Empty fields of a machine's own SSH take the fleet's value.
type SSH struct {
	// User to log in as. Default root.
	// +example=ops
	User string `json:"user,omitempty"`
	// Port of sshd. Default 22.
	// +example=2222
	Port int `json:"port,omitempty" format:"port"`
	// Secret names a Secret beside the ConfigMap. Its keys, all optional: ssh-privatekey, passphrase (of that key),
	// ssh-certificate, password, sudo-password.
	// +example=team-a-ssh
	Secret string `json:"secret,omitempty"`
	// HostKeys pin the machine: lines as in /etc/ssh/ssh_host_ed25519_key.pub. Only sensible on a machine or bastion.
	// +example=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJOHYKGvkcEQhLuaJh0TWkPTqe7cS2Zc1TpHIt3mAsdW"]
	HostKeys []string `json:"hostKeys,omitempty"`
	// KnownHostsSecret names a Secret whose key known_hosts is in OpenSSH's format, @cert-authority lines included.
	// +example=team-a-known-hosts
	KnownHostsSecret string `json:"knownHostsSecret,omitempty"`
	// HostCAs are public keys of certificate authorities that sign host keys.
	// +example=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJOHYKGvkcEQhLuaJh0TWkPTqe7cS2Zc1TpHIt3mAsdW"]
	HostCAs []string `json:"hostCAs,omitempty"`
	// TrustOnFirstUse accepts an unknown key once and records it in ConfigMap <cluster>-known-hosts. Default false: an
	// unknown key stops the step.
	// +example=true
	TrustOnFirstUse *bool `json:"trustOnFirstUse,omitempty"`
	// Bastions are passed in order, the first is dialled directly.
	Bastions []Bastion `json:"bastions,omitempty"`
	// ConnectTimeout bounds dial and login to one host. Default 10s.
	// +example=20s
	ConnectTimeout metav1.Duration `json:"connectTimeout,omitzero"`
	// KeepAlive is the time between probes of an idle connection; three unanswered ones end it. Default 10s.
	// +example=30s
	KeepAlive metav1.Duration `json:"keepAlive,omitzero"`
	// StartupTimeout is how long plan and join wait for a machine that has never answered, from the first try on: until
	// its sshd listens, shows a host key that is accepted, and lets the user log in. A machine whose node is in the
	// cluster is not waited for, and bastions are not. 0 does not wait, also at one machine of a fleet that does.
	// Default 0.
	// +example=10m
	StartupTimeout *metav1.Duration `json:"startupTimeout,omitempty"`
}

// Startup returns StartupTimeout; 0 where it is not set.
func (s SSH) Startup() time.Duration {
	if s.StartupTimeout == nil {
		return 0
	}
	return s.StartupTimeout.Duration
}

// Bastion is one hop on the way to a machine.
type Bastion struct {
	// Address is a host name or an IP address.
	// +example=bastion.example.com
	Address string `json:"address"`
	// Port of sshd. Default 22.
	// +example=2222
	Port int `json:"port,omitempty" format:"port"`
	// User to log in as. Default: the machine's user.
	// +example=jump
	User string `json:"user,omitempty"`
	// Secret with the bastion's own credentials; default: the machine's.
	// +example=team-a-bastion
	Secret string `json:"secret,omitempty"`
	// HostKeys pin the bastion; known_hosts, CAs and trustOnFirstUse of the fleet hold for it too.
	// +example=["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJOHYKGvkcEQhLuaJh0TWkPTqe7cS2Zc1TpHIt3mAsdW"]
	HostKeys []string `json:"hostKeys,omitempty"`
}

// Machine is a host that belongs to this cluster alone.
type Machine struct {
	// Name is how workflows and messages call it, a DNS-1123 label.
	// +at=machine +effect=needs a rejoin +example=gpu-1
	Name string `json:"name"`
	// Address is a host name or an IP address.
	// +example=192.0.2.11
	Address string `json:"address"`
	// NodeName is its name in Kubernetes. Default: Name.
	// +at=machine +effect=needs a rejoin +example=gpu-1.example.com
	NodeName string `json:"nodeName,omitempty"`
	// Labels set on the node; labels set by others stay.
	// +at=cluster +effect=none +example={zone: rack-1}
	Labels map[string]string `json:"labels,omitempty"`
	// Taints set on the node, beside those of privateNodes.joinNode.nodeRegistration.
	// +at=cluster +effect=none
	Taints []Taint `json:"taints,omitempty"`
	// SSH overrides the fleet's SSH field by field.
	SSH SSH `json:"ssh,omitzero"`
	// Join overrides settings that vcluster.yaml has for all machines; plan shows the differences.
	// +at=machine +effect=needs a rejoin
	Join MachineJoin `json:"join,omitzero"`
}

// Taint keeps pods away from a node.
type Taint struct {
	// Key of the taint, a qualified name.
	// +example=nvidia.com/gpu
	Key string `json:"key"`
	// Value of the taint.
	// +example=present
	Value string `json:"value,omitempty"`
	// Effect is NoSchedule, PreferNoSchedule or NoExecute.
	Effect string `json:"effect" enum:"NoSchedule,PreferNoSchedule,NoExecute"`
}

// Delivery is how a bundle gets to a machine.
type Delivery string

// The ways of delivery.
const (
	// DeliveryAuto spreads where a run has 8 machines or more. Otherwise it pulls when the machine reaches the
	// repository, and pushes when it does not.
	DeliveryAuto Delivery = "auto"
	// DeliveryPull lets the machine download.
	DeliveryPull Delivery = "pull"
	// DeliveryPush streams through the plugin over SSH.
	DeliveryPush Delivery = "push"
	// DeliverySpread sends pieces through the plugin over SSH, which machines pass on to each other.
	DeliverySpread Delivery = "spread"
)

// Bundles is where node bundles come from. A bundle is at
// <repository>/<version>/kubernetes-<version>-<arch>.tar.gz (or .tar.zst).
type Bundles struct {
	// Repository is an http(s) URL. Default: the control plane itself when Argosy provisions it with
	// privateNodes.importNodeBinaries, and privateNodes.autoUpgrade.bundleRepository of vcluster.yaml otherwise.
	// +example=https://bundles.example.com/kubernetes
	Repository string `json:"repository,omitempty"`
	// CACert is a PEM certificate authority for the repository's TLS, beside the system's.
	// +example="-----BEGIN CERTIFICATE-----…"
	CACert string `json:"caCert,omitempty"`
	// Delivery is auto, pull, push or spread. Default auto: spread where a run has 8 machines or more, else pull where
	// the machine reaches the repository, and push where it does not. Image archives that the plugin sends are spread
	// with spread, and with auto from 8 machines on.
	Delivery Delivery `json:"delivery,omitempty" enum:"auto,pull,push,spread"`
	// Format is tar.gz or tar.zst. Default tar.gz.
	Format string `json:"format,omitempty" enum:"tar.gz,tar.zst"`
	// SHA256 by file name, e.g. "kubernetes-v1.37.2-amd64.tar.gz"; it wins over a SHA256SUMS beside the bundle.
	// +example={kubernetes-v1.37.2-amd64.tar.gz: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}
	SHA256 map[string]string `json:"sha256,omitempty"`
	// AllowUnverified accepts a bundle for which no digest is known. Default false.
	AllowUnverified bool `json:"allowUnverified,omitempty"`
}

// JoinPolicy holds requirements that a machine must meet before it is touched.
type JoinPolicy struct {
	// MinDisk free below /var/lib, a Kubernetes quantity. Default 2Gi.
	// +example=10Gi
	MinDisk string `json:"minDisk,omitempty" format:"quantity"`
	// MinMemory in total, a Kubernetes quantity. Default 900Mi: kubeadm's own minimum, and the pods of a worker.
	// +example=4Gi
	MinMemory string `json:"minMemory,omitempty" format:"quantity"`
	// MaxClockSkew between the machine and the API server. Default 30s.
	// +example=10s
	MaxClockSkew metav1.Duration `json:"maxClockSkew,omitzero"`
	// CommandTimeout bounds each of preInstallCommands, preJoinCommands and postJoinCommands. Default 5m.
	// +example=15m
	CommandTimeout metav1.Duration `json:"commandTimeout,omitzero"`
}

// Drain is how pods leave a node before its machine is touched. They are always evicted, so that PodDisruptionBudgets
// hold.
type Drain struct {
	// Timeout bounds the drain of one node. After it the drain ends, and the node is uncordoned. Default 5m.
	// +example=15m
	Timeout metav1.Duration `json:"timeout,omitzero"`
	// DeleteEmptyDirData lets pods with emptyDir volumes be evicted, whose data ends with them. Default true.
	// +example=false
	DeleteEmptyDirData bool `json:"deleteEmptyDirData,omitempty"`
	// GracePeriod is how many seconds pods have to end; -1 is each pod's own, and 0 kills at once. Default -1.
	// +example=30
	GracePeriod int `json:"gracePeriod,omitempty"`
	// Force also evicts pods that no controller recreates. Default false: such pods fail the drain.
	Force bool `json:"force,omitempty"`
}

// Registries is how image registries are reached. The mirrors of containerd on the machines are in
// privateNodes.joinNode.containerd.registry of vcluster.yaml.
type Registries struct {
	// Secret names a Secret of type kubernetes.io/dockerconfigjson beside the ConfigMap. The plugin pulls with its
	// logins, and every machine's containerd gets them beside those of privateNodes.joinNode.containerd.registry.auth.
	// +at=machine +effect=restarts containerd +example=team-a-registries
	Secret string `json:"secret,omitempty"`
	// CACert is a PEM certificate authority for the plugin's pulls and downloads, beside the system's.
	// +example="-----BEGIN CERTIFICATE-----…"
	CACert string `json:"caCert,omitempty"`
	// PlainHTTP are the hosts, with their ports, that the plugin asks without TLS.
	// +example=['192.0.2.5:5000']
	PlainHTTP []string `json:"plainHTTP,omitempty"`
}

// FlannelNetwork is how flannel carries packets between machines.
type FlannelNetwork struct {
	// Backend is vxlan, which wraps packets into UDP, or host-gw, which routes them as they are and needs all machines
	// in one network segment. Default vxlan.
	Backend FlannelBackend `json:"backend,omitempty" enum:"vxlan,host-gw"`
	// Port is the UDP port of vxlan. Default 8472, Linux's own. 4789 is the standard's; some virtual switches take its
	// packets for their own, and some network cards compute wrong checksums of them.
	// +example=4789
	Port int `json:"port,omitempty" format:"port"`
	// Interface that carries the packets, which every machine must have. Default: that of the node's address.
	// +example=eth1
	Interface string `json:"interface,omitempty"`
}

// FlannelBackend is a way by which flannel carries packets.
type FlannelBackend string

// The backends.
const (
	FlannelVXLAN  FlannelBackend = "vxlan"
	FlannelHostGW FlannelBackend = "host-gw"
)

// Limits bound the work.
type Limits struct {
	// Concurrency is how many machines are worked on at once, unless the workflow has a parameter for it. Default 5.
	// +example=20
	Concurrency int `json:"concurrency,omitempty"`
	// MachineTimeout bounds one operation on one machine, on the machine itself too. Default 20m.
	// +example=40m
	MachineTimeout metav1.Duration `json:"machineTimeout,omitzero"`
	// ReadyTimeout bounds the wait for the node to be Ready after kubeadm is done. Default 5m.
	// +example=10m
	ReadyTimeout metav1.Duration `json:"readyTimeout,omitzero"`
	// RetryBudget is how long transient errors (an unreachable machine) are retried. Default 5m.
	// +example=15m
	RetryBudget metav1.Duration `json:"retryBudget,omitzero"`
}
