package controlplane

import "argosy.dev/argosy/pkg/apply"

// Ports in the control plane's pod. The API server's own is controlPlane.proxy.port of vcluster.yaml.
const (
	// KonnectivityPort is where the konnectivity agents of the cluster's nodes connect to.
	KonnectivityPort = 8132
	// BundlesPort is where machines fetch node bundles.
	BundlesPort = 8444
	// servicePort is the API server's port on its Service, as clients expect it of https.
	servicePort = 443

	controllerManagerPort  = 10257
	schedulerPort          = 10259
	konnectivityAdminPort  = 8133
	konnectivityHealthPort = 8134
	etcdClientPort         = 2379
	etcdPeerPort           = 2380
	etcdMetricsPort        = 2381
)

// Labels and annotations of what Argosy makes in the host cluster.
const (
	// ClusterLabel names the cluster that an object belongs to.
	ClusterLabel   = "argosy.dev/cluster"
	componentLabel = "app.kubernetes.io/component"
	// identityAnnotation is on Secret <cluster>-pki and holds what can't change after creation.
	identityAnnotation = "argosy.dev/identity"
	// configAnnotation is on pods and digests what they read at their start, so that a change replaces them.
	configAnnotation = "argosy.dev/config"
	// defaultContainerAnnotation is on pods and says whose log kubectl shows.
	defaultContainerAnnotation = "kubectl.kubernetes.io/default-container"
	// templateAnnotation is on StatefulSets and digests the pods they want.
	templateAnnotation = "argosy.dev/template"
)

// Components, as the component label tells them.
const (
	componentControlPlane = "control-plane"
	componentEtcd         = "etcd"
	// componentMachines is on what is known of a cluster's machines rather than of its control plane.
	componentMachines = "machines"
)

// names of a cluster's objects in its namespace of the host cluster; the value is the cluster's name.
type names string

func (n names) service() string      { return string(n) }
func (n names) controlPlane() string { return string(n) + "-control-plane" }
func (n names) etcd() string         { return string(n) + "-etcd" }
func (n names) pki() string          { return string(n) + "-pki" }
func (n names) certs() string        { return string(n) + "-certs" }
func (n names) etcdCerts() string    { return string(n) + "-etcd-certs" }
func (n names) data() string         { return string(n) + "-data" }
func (n names) config() string       { return string(n) + "-control-plane" }
func (n names) dataSource() string   { return string(n) + "-data-source" }
func (n names) backups() string      { return string(n) + "-backups" }

// labels of an object of the given component; with selector alone they find its pods.
func (n names) labels(component string) map[string]string {
	return map[string]string{
		apply.ManagedByLabel: apply.Manager,
		ClusterLabel:         string(n),
		componentLabel:       component,
	}
}

// MachineLabels are on what Argosy notes of a cluster's machines in the host cluster, so that it goes with the cluster.
func MachineLabels(cluster string) map[string]string { return names(cluster).labels(componentMachines) }

func (n names) selector(component string) map[string]string {
	return map[string]string{ClusterLabel: string(n), componentLabel: component}
}
