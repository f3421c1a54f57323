package hosted

import "argosy.dev/argosy/internal/apply"

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
	// Maintenance is on Jobs that mend a deployed etcd.
	Maintenance = "maintenance"
	// User is on Secrets with users' kubeconfigs.
	User = "user"
	// Machines is on objects about a cluster's machines rather than its control plane.
	Machines = "machines"
)

// Names are those of a cluster's objects in its namespace of the host cluster; the value is the cluster's name.
type Names string

// Service returns the name of the Service that exposes the control plane.
func (n Names) Service() string { return string(n) }

// ControlPlane returns the name of the control plane's StatefulSet and of its headless Service.
func (n Names) ControlPlane() string { return string(n) + "-control-plane" }

// Etcd returns the name of etcd's StatefulSet and of its headless Service.
func (n Names) Etcd() string { return string(n) + "-etcd" }

// PKI returns the name of the Secret with the cluster's authorities and its signing key.
func (n Names) PKI() string { return string(n) + "-pki" }

// Certs returns the name of the Secret with the certificates of the control plane's pods.
func (n Names) Certs() string { return string(n) + "-certs" }

// EtcdCerts returns the name of the Secret with the certificates of etcd's members.
func (n Names) EtcdCerts() string { return string(n) + "-etcd-certs" }

// Data returns the name of the PersistentVolumeClaim with the embedded database.
func (n Names) Data() string { return string(n) + "-data" }

// Config returns the name of the ConfigMap with the files of the pods that hold no secret.
func (n Names) Config() string { return string(n) + "-control-plane" }

// DataSource returns the name of the Secret with the data source of an external database.
func (n Names) DataSource() string { return string(n) + "-data-source" }

// Backups returns the name of the PersistentVolumeClaim with the archives.
func (n Names) Backups() string { return string(n) + "-backups" }

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
