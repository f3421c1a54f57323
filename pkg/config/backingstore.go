package config

import "argosy.dev/argosy/pkg/secret"

// BackingStore holds the cluster's state. At most one kind may be on; none means embedded SQLite.
type BackingStore struct {
	// Database behind kine.
	Database Databases `json:"database,omitzero"`
	// Etcd in one of its forms.
	Etcd Etcds `json:"etcd,omitzero"`
}

// Databases behind kine.
type Databases struct {
	// Embedded is SQLite on a volume.
	Embedded Database `json:"embedded,omitzero"`
	// External is a database server.
	External Database `json:"external,omitzero"`
}

// Database behind kine.
type Database struct {
	// Enabled chooses it.
	// +effect=never changes
	Enabled bool `json:"enabled,omitempty"`
	// DataSource is the address and the login: "postgres://user:password@host:5432/database" or
	// "mysql://user:password@tcp(host:3306)/database". The password can be read by all who can read the document:
	// prefer connector.
	// +example="postgres://argosy:…@db.example.com:5432/team-a"
	DataSource secret.Value `json:"dataSource,omitzero"`
	// Connector names a Secret beside the ConfigMap whose key dataSource holds the data source.
	// +example=team-a-db
	Connector string `json:"connector,omitempty"`
	// IdentityProvider for cloud databases.
	// +example=''
	IdentityProvider string `json:"identityProvider,omitempty"`
	// CertFile of the client.
	// +example=''
	CertFile string `json:"certFile,omitempty"`
	// KeyFile of the client.
	// +example=''
	KeyFile string `json:"keyFile,omitempty"`
	// CAFile of the server.
	// +example=''
	CAFile string `json:"caFile,omitempty"`
	// ExtraArgs for kine.
	// +example=["--debug"]
	ExtraArgs []string `json:"extraArgs,omitempty"`
}

// Etcds in their forms.
type Etcds struct {
	// Embedded runs in the control plane's pods.
	Embedded EmbeddedEtcd `json:"embedded,omitzero"`
	// Deploy runs as a StatefulSet beside the control plane.
	Deploy DeployedEtcd `json:"deploy,omitzero"`
	// External exists already.
	External ExternalEtcd `json:"external,omitzero"`
}

// EmbeddedEtcd runs in the control plane's pods.
type EmbeddedEtcd struct {
	// Enabled chooses it.
	Enabled bool `json:"enabled,omitempty"`
	// MigrateFromDeployedEtcd copies the state of a deployed one first.
	MigrateFromDeployedEtcd bool `json:"migrateFromDeployedEtcd,omitempty"`
	// SnapshotCount is the number of transactions after which etcd writes a snapshot.
	// +example=10000
	SnapshotCount int `json:"snapshotCount,omitempty"`
	// ExtraArgs for etcd.
	// +example=[]
	ExtraArgs []string `json:"extraArgs,omitempty"`
}

// DeployedEtcd runs as a StatefulSet beside the control plane.
type DeployedEtcd struct {
	// Enabled chooses it.
	// +effect=never changes
	Enabled bool `json:"enabled,omitempty"`
	// StatefulSet of its pods.
	StatefulSet EtcdStatefulSet `json:"statefulSet,omitzero"`
	// Service in front of it. The control plane asks the members by name and needs none.
	Service EtcdService `json:"service,omitzero"`
	// HeadlessService that gives the members their names.
	HeadlessService EtcdHeadlessService `json:"headlessService,omitzero"`
}

// EtcdStatefulSet of a deployed etcd's pods.
type EtcdStatefulSet struct {
	// Enabled may not be false: without its pods there is no store.
	// +effect=no effect +example=true
	Enabled bool `json:"enabled"`
	// HighAvailability of etcd.
	HighAvailability EtcdHighAvailability `json:"highAvailability,omitzero"`
	// Image of etcd, with etcd and etcdctl in its PATH; a tag alone is that of registry.k8s.io/etcd. Default: the
	// control plane's own image, which carries it.
	Image Image `json:"image,omitzero"`
	// ImagePullPolicy is Always, IfNotPresent or Never.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty" enum:"Always,IfNotPresent,Never"`
	// Labels of the StatefulSet.
	// +effect=none +example={team: a}
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations of the StatefulSet.
	// +effect=none +example={example.com/owner: team-a}
	Annotations map[string]string `json:"annotations,omitempty"`
	// Pods carry these labels and annotations.
	Pods Metadata `json:"pods,omitzero"`
	// Resources of etcd's container.
	Resources Resources `json:"resources,omitzero"`
	// Scheduling of the pods.
	Scheduling Scheduling `json:"scheduling,omitzero"`
	// Security contexts of the pods.
	Security Security `json:"security,omitzero"`
	// Persistence of the members' state.
	Persistence Persistence `json:"persistence,omitzero"`
	// Env of etcd's container, each a Kubernetes EnvVar.
	// +example=[{name: TZ, value: UTC}]
	Env []Unstructured `json:"env,omitempty"`
	// ExtraArgs for etcd, dashes included.
	// +example=["--quota-backend-bytes=8589934592"]
	ExtraArgs []string `json:"extraArgs,omitempty"`
	// EnableServiceLinks puts services into the environment.
	EnableServiceLinks bool `json:"enableServiceLinks,omitempty"`
}

// EtcdHighAvailability of a deployed etcd.
type EtcdHighAvailability struct {
	// Replicas are the members: 1 or 3.
	// +effect=never changes +example=3
	Replicas int `json:"replicas,omitempty"`
}

// EtcdService in front of a deployed etcd.
type EtcdService struct {
	// Enabled is accepted either way.
	Enabled bool `json:"enabled"`
	// Annotations of the Service.
	// +example={}
	Annotations map[string]string `json:"annotations,omitempty"`
}

// EtcdHeadlessService gives the members of a deployed etcd their names.
type EtcdHeadlessService struct {
	// Annotations of the Service.
	// +example={}
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ExternalEtcd exists already.
type ExternalEtcd struct {
	// Enabled chooses it.
	Enabled bool `json:"enabled,omitempty"`
	// Endpoint is host:port.
	// +example=''
	Endpoint string `json:"endpoint,omitempty"`
	// TLS of the connection.
	TLS EtcdTLS `json:"tls,omitzero"`
}

// EtcdTLS of a connection to etcd; the files lie in the control plane's container.
type EtcdTLS struct {
	// CAFile of the server.
	// +example=''
	CAFile string `json:"caFile,omitempty"`
	// CertFile of the client.
	// +example=''
	CertFile string `json:"certFile,omitempty"`
	// KeyFile of the client.
	// +example=''
	KeyFile string `json:"keyFile,omitempty"`
}
