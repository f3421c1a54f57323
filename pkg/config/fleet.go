package config

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The Fleet document's type.
const (
	FleetAPIVersion = "argosy.dev/v1alpha1"
	FleetKind       = "Fleet"
)

// Fleet is argosy.yaml: what vcluster.yaml has no word for. The machines, how to reach them, where their binaries come
// from, and the limits within which Argosy works on them.
type Fleet struct {
	// APIVersion is "argosy.dev/v1alpha1".
	APIVersion string `json:"apiVersion" enum:"argosy.dev/v1alpha1" effect:"no effect" example:"argosy.dev/v1alpha1"`
	// Kind is "Fleet".
	Kind string `json:"kind" enum:"Fleet" effect:"no effect" example:"Fleet"`
	// Cluster names an existing cluster that the machines join. Left out, Argosy provisions the cluster.
	Cluster ClusterTarget `json:"cluster,omitzero" effect:"needs a rejoin" at:"machine"`
	// ControlPlane holds what provisioning needs beside vcluster.yaml.
	ControlPlane HostedControlPlane `json:"controlPlane,omitzero" effect:"with the next workflow" at:"plugin"`
	// SSH is how machines are reached; a machine may override each field.
	SSH SSH `json:"ssh,omitzero" effect:"with the next workflow" at:"plugin"`
	// Machines are the hosts. Names and addresses are unique. A cluster that Argosy provisions may get them later.
	Machines []Machine `json:"machines,omitempty" effect:"with the next workflow" at:"plugin"`
	// Bundles says where node bundles come from and how they are verified.
	Bundles Bundles `json:"bundles,omitzero" effect:"with the next workflow" at:"plugin"`
	// Join holds what Argosy asks of machines before it touches them.
	Join JoinPolicy `json:"join,omitzero" effect:"with the next workflow" at:"machine"`
	// Drain says how pods leave a machine that is taken out of service.
	Drain Drain `json:"drain,omitzero" effect:"with the next workflow" at:"cluster"`
	// Upgrade says how machines go to another version of Kubernetes.
	Upgrade Upgrade `json:"upgrade,omitzero" effect:"with the next workflow" at:"plugin"`
	// Registries says how image registries are reached, by the plugin and with whose logins.
	Registries Registries `json:"registries,omitzero" effect:"with the next workflow" at:"plugin"`
	// Limits bound what runs at once and for how long.
	Limits Limits `json:"limits,omitzero" effect:"with the next workflow" at:"plugin"`
}

// ClusterTarget is an existing cluster, given by a kubeconfig.
type ClusterTarget struct {
	// KubeconfigSecret names a Secret beside the ConfigMap; its key "value", "kubeconfig" or "config" holds an admin
	// kubeconfig. Empty: Argosy provisions the cluster and writes the Secret <cluster>-kubeconfig itself.
	KubeconfigSecret string `json:"kubeconfigSecret,omitempty" example:"team-a-kubeconfig"`
	// Endpoint is host:port of the API server as the machines see it; default: the kubeconfig's server. A cluster that
	// Argosy provisions has controlPlane.endpoint of vcluster.yaml instead.
	Endpoint string `json:"endpoint,omitempty" example:"api.team-a.example.com:6443"`
}

// HostedControlPlane is a control plane in pods of the host cluster.
type HostedControlPlane struct {
	// Timeout bounds the wait for the control plane to answer. Default 10m.
	Timeout metav1.Duration `json:"timeout,omitzero" example:"15m"`
	// Image of Argosy itself, for what runs beside the control plane: the bundle server and the backup jobs. Default:
	// the plugin's own.
	Image string `json:"image,omitempty" effect:"replaces the control plane's pods" at:"control plane" example:"registry.example.com/argosy:v1"`
}

// SSH is how to reach a machine. Empty fields of a machine's own SSH take the fleet's value.
type SSH struct {
	// User to log in as. Default root.
	User string `json:"user,omitempty" example:"ops"`
	// Port of sshd. Default 22.
	Port int `json:"port,omitempty" example:"2222"`
	// Secret names a Secret beside the ConfigMap. Its keys, all optional: ssh-privatekey, passphrase (of that key),
	// ssh-certificate, password, sudo-password.
	Secret string `json:"secret,omitempty" example:"team-a-ssh"`
	// HostKeys pin the machine: lines as in /etc/ssh/ssh_host_ed25519_key.pub. Only sensible on a machine or bastion.
	HostKeys []string `json:"hostKeys,omitempty" example:"[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJOHYKGvkcEQhLuaJh0TWkPTqe7cS2Zc1TpHIt3mAsdW\"]"`
	// KnownHostsSecret names a Secret whose key known_hosts is in OpenSSH's format, @cert-authority lines included.
	KnownHostsSecret string `json:"knownHostsSecret,omitempty" example:"team-a-known-hosts"`
	// HostCAs are public keys of certificate authorities that sign host keys.
	HostCAs []string `json:"hostCAs,omitempty" example:"[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJOHYKGvkcEQhLuaJh0TWkPTqe7cS2Zc1TpHIt3mAsdW\"]"`
	// TrustOnFirstUse accepts an unknown key once and records it in ConfigMap <cluster>-known-hosts. Default false: an
	// unknown key stops the step.
	TrustOnFirstUse *bool `json:"trustOnFirstUse,omitempty" example:"true"`
	// Bastions are passed in order, the first is dialled directly.
	Bastions []Bastion `json:"bastions,omitempty"`
	// ConnectTimeout bounds dial and login to one host. Default 10s.
	ConnectTimeout metav1.Duration `json:"connectTimeout,omitzero" example:"20s"`
	// KeepAlive is the time between probes of an idle connection; three unanswered ones end it. Default 10s.
	KeepAlive metav1.Duration `json:"keepAlive,omitzero" example:"30s"`
}

// Bastion is one hop on the way to a machine.
type Bastion struct {
	// Address is a host name or an IP address.
	Address string `json:"address" example:"bastion.example.com"`
	// Port of sshd. Default 22.
	Port int `json:"port,omitempty" example:"2222"`
	// User to log in as. Default: the machine's user.
	User string `json:"user,omitempty" example:"jump"`
	// Secret with the bastion's own credentials; default: the machine's.
	Secret string `json:"secret,omitempty" example:"team-a-bastion"`
	// HostKeys pin the bastion; known_hosts, CAs and trustOnFirstUse of the fleet hold for it too.
	HostKeys []string `json:"hostKeys,omitempty" example:"[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJOHYKGvkcEQhLuaJh0TWkPTqe7cS2Zc1TpHIt3mAsdW\"]"`
}

// Machine is a host that belongs to this cluster alone.
type Machine struct {
	// Name is how workflows and messages call it, a DNS-1123 label.
	Name string `json:"name" effect:"needs a rejoin" at:"machine" example:"gpu-1"`
	// Address is a host name or an IP address.
	Address string `json:"address" example:"192.0.2.11"`
	// NodeName is its name in Kubernetes. Default: Name.
	NodeName string `json:"nodeName,omitempty" effect:"needs a rejoin" at:"machine" example:"gpu-1.example.com"`
	// Labels set on the node; a label that somebody else set stays.
	Labels map[string]string `json:"labels,omitempty" effect:"none" at:"cluster" example:"{zone: rack-1}"`
	// Taints set on the node, beside those of privateNodes.joinNode.nodeRegistration.
	Taints []Taint `json:"taints,omitempty" effect:"none" at:"cluster"`
	// SSH overrides the fleet's SSH field by field.
	SSH SSH `json:"ssh,omitzero"`
	// Join overrides what vcluster.yaml says for all machines; plan shows what it changes.
	Join MachineJoin `json:"join,omitzero" effect:"needs a rejoin" at:"machine"`
}

// Taint keeps pods away from a node.
type Taint struct {
	// Key of the taint, a qualified name.
	Key string `json:"key" example:"nvidia.com/gpu"`
	// Value of the taint.
	Value string `json:"value,omitempty" example:"present"`
	// Effect is NoSchedule, PreferNoSchedule or NoExecute.
	Effect string `json:"effect" enum:"NoSchedule,PreferNoSchedule,NoExecute"`
}

// Delivery is how a bundle gets to a machine.
type Delivery string

// The ways.
const (
	// DeliveryAuto pulls when the machine reaches the repository, and pushes otherwise.
	DeliveryAuto Delivery = "auto"
	// DeliveryPull lets the machine download.
	DeliveryPull Delivery = "pull"
	// DeliveryPush streams through the plugin over SSH.
	DeliveryPush Delivery = "push"
)

// Bundles says where node bundles come from. A bundle is found at
// <repository>/<version>/kubernetes-<version>-<arch>.tar.gz (or .tar.zst).
type Bundles struct {
	// Repository is an http(s) URL. Default: the control plane itself when Argosy provisions it with
	// privateNodes.importNodeBinaries, and privateNodes.autoUpgrade.bundleRepository of vcluster.yaml otherwise.
	Repository string `json:"repository,omitempty" example:"https://bundles.example.com/kubernetes"`
	// CACert is a PEM certificate authority for the repository's TLS, beside the system's.
	CACert string `json:"caCert,omitempty" example:"\"-----BEGIN CERTIFICATE-----…\""`
	// Delivery is auto, pull or push. Default auto.
	Delivery Delivery `json:"delivery,omitempty" enum:"auto,pull,push"`
	// Format is tar.gz or tar.zst. Default tar.gz.
	Format string `json:"format,omitempty" enum:"tar.gz,tar.zst"`
	// SHA256 by file name, e.g. "kubernetes-v1.34.4-amd64.tar.gz"; it wins over a SHA256SUMS beside the bundle.
	SHA256 map[string]string `json:"sha256,omitempty" example:"{kubernetes-v1.34.4-amd64.tar.gz: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}"`
	// AllowUnverified accepts a bundle for which no digest is known. Default false.
	AllowUnverified bool `json:"allowUnverified,omitempty"`
}

// JoinPolicy is what a machine must have before it is touched.
type JoinPolicy struct {
	// MinDisk free below /var/lib, a Kubernetes quantity. Default 2Gi.
	MinDisk string `json:"minDisk,omitempty" example:"10Gi"`
	// MinMemory in all, a Kubernetes quantity. Default 900Mi, as kubeadm asks for a worker plus what it runs.
	MinMemory string `json:"minMemory,omitempty" example:"4Gi"`
	// MaxClockSkew between the machine and the API server. Default 30s.
	MaxClockSkew metav1.Duration `json:"maxClockSkew,omitzero" example:"10s"`
	// CommandTimeout bounds each of preInstallCommands, preJoinCommands and postJoinCommands. Default 5m.
	CommandTimeout metav1.Duration `json:"commandTimeout,omitzero" example:"15m"`
}

// Drain is how pods leave a node before its machine is touched. They are always evicted, so that PodDisruptionBudgets
// hold.
type Drain struct {
	// Timeout bounds the drain of one node, after which it is given up and the node takes pods again. Default 5m.
	Timeout metav1.Duration `json:"timeout,omitzero" example:"15m"`
	// DeleteEmptyDirData lets pods with emptyDir volumes be evicted, whose data ends with them. Default true.
	DeleteEmptyDirData bool `json:"deleteEmptyDirData,omitempty" example:"false"`
	// GracePeriod is how many seconds pods have to end; -1 is each pod's own, and 0 kills at once. Default -1.
	GracePeriod int `json:"gracePeriod,omitempty" example:"30"`
	// Force evicts also pods that no controller brings back. Default false: they refuse the drain.
	Force bool `json:"force,omitempty"`
}

// Registries says how image registries are reached. Where containerd on the machines looks is in
// privateNodes.joinNode.containerd.registry of vcluster.yaml.
type Registries struct {
	// Secret names a Secret of type kubernetes.io/dockerconfigjson beside the ConfigMap. The plugin pulls with its
	// logins, and every machine's containerd gets them beside those of privateNodes.joinNode.containerd.registry.auth.
	Secret string `json:"secret,omitempty" effect:"restarts containerd" at:"machine" example:"team-a-registries"`
	// CACert is a PEM certificate authority for what the plugin pulls and downloads, beside the system's.
	CACert string `json:"caCert,omitempty" example:"\"-----BEGIN CERTIFICATE-----…\""`
	// PlainHTTP are the hosts, with their ports, that the plugin asks without TLS.
	PlainHTTP []string `json:"plainHTTP,omitempty" example:"['192.0.2.5:5000']"`
}

// Limits bound the work.
type Limits struct {
	// Concurrency is how many machines are worked on at once, unless the workflow's parameter says otherwise. Default
	// 5.
	Concurrency int `json:"concurrency,omitempty" example:"20"`
	// MachineTimeout bounds one operation on one machine, on the machine itself too. Default 20m.
	MachineTimeout metav1.Duration `json:"machineTimeout,omitzero" example:"40m"`
	// ReadyTimeout bounds the wait for the node to be Ready after kubeadm is done. Default 5m.
	ReadyTimeout metav1.Duration `json:"readyTimeout,omitzero" example:"10m"`
	// RetryBudget is how long transient errors (an unreachable machine) are retried. Default 5m.
	RetryBudget metav1.Duration `json:"retryBudget,omitzero" example:"15m"`
}
