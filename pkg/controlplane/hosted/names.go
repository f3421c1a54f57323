package hosted

import "argosy.dev/argosy/pkg/apply"

// Labels of the objects that Argosy makes in the host cluster.
const (
	// ClusterLabel names the cluster that an object belongs to.
	ClusterLabel = "argosy.dev/cluster"
	// ComponentLabel is one of the components below.
	ComponentLabel = "app.kubernetes.io/component"
)

// Annotations of Secret <cluster>-pki.
const (
	// IdentityAnnotation holds the settings that can't change after creation, a config.Identity as JSON.
	IdentityAnnotation = "argosy.dev/identity"
)

// Components, as the component label has them.
const (
	ControlPlane = "control-plane"
	Etcd         = "etcd"
	Backup       = "backup"
	Restore      = "restore"
	// User is on Secrets with users' kubeconfigs.
	User = "user"
	// Machines is on objects about a cluster's machines rather than its control plane.
	Machines = "machines"
)

// Names are those of a cluster's objects in its namespace of the host cluster; the value is the cluster's name.
type Names string

func (n Names) Service() string      { return string(n) }
func (n Names) ControlPlane() string { return string(n) + "-control-plane" }
func (n Names) Etcd() string         { return string(n) + "-etcd" }
func (n Names) PKI() string          { return string(n) + "-pki" }
func (n Names) Certs() string        { return string(n) + "-certs" }
func (n Names) EtcdCerts() string    { return string(n) + "-etcd-certs" }
func (n Names) Data() string         { return string(n) + "-data" }
func (n Names) Config() string       { return string(n) + "-control-plane" }
func (n Names) DataSource() string   { return string(n) + "-data-source" }
func (n Names) Backups() string      { return string(n) + "-backups" }

// Labels returns the labels of an object of a component.
func (n Names) Labels(component string) map[string]string {
	return map[string]string{
		apply.ManagedByLabel: apply.Manager,
		ClusterLabel:         string(n),
		ComponentLabel:       component,
	}
}

// Selector returns the labels by which Services and StatefulSets find the pods of a component.
func (n Names) Selector(component string) map[string]string {
	return map[string]string{ClusterLabel: string(n), ComponentLabel: component}
}

// MachineLabels returns the labels of objects about a cluster's machines, so that they are removed with the cluster.
func MachineLabels(cluster string) map[string]string { return Names(cluster).Labels(Machines) }
