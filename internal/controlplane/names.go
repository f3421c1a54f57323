package controlplane

// Ports in the control plane's pod. The API server's own is controlPlane.proxy.port of vcluster.yaml.
const (
	// konnectivityPort is the port that the konnectivity agents of the cluster's nodes connect to.
	konnectivityPort = 8132
	// bundlesPort is the port of the bundle server.
	bundlesPort = 8444
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

// Annotations of objects in the host cluster.
const (
	// defaultContainerAnnotation is on pods and names the container whose log kubectl shows.
	defaultContainerAnnotation = "kubectl.kubernetes.io/default-container"
	// templateAnnotation is on StatefulSets and digests their pod template.
	templateAnnotation = "argosy.dev/template"
)
