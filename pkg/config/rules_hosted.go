package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

const versionKey = "controlPlane.distro.k8s.version"

// maxHostedName is the length of a cluster's name that leaves room for suffixes: a StatefulSet's name has at most 52
// letters, since its pods have it in a label with a hash of 10, and "-control-plane" takes 14.
const maxHostedName = 38

// checkHosted checks the rules of a control plane that Argosy provisions; v is vcluster.yaml, f is argosy.yaml.
func (c *Cluster) checkHosted(v, f *document) {
	if len(validation.IsDNS1035Label(c.Name)) > 0 || len(c.Name) > maxHostedName {
		f.add("", fmt.Sprintf("the cluster's name %s cannot be that of a Service and a StatefulSet", shown(c.Name)),
			fmt.Sprintf("name the ConfigMap with up to %d lower case letters, digits and hyphens, a letter first",
				maxHostedName))
	}
	if c.Fleet.Cluster.Endpoint != "" {
		f.add("cluster.endpoint", "belongs to a cluster that exists already, named by cluster.kubeconfigSecret",
			"set controlPlane.endpoint in vcluster.yaml, which the serving certificate covers")
	}
	if !c.NamesVersion() {
		c.Remarks = append(c.Remarks, fmt.Sprintf("%s: %s is not set: a new control plane gets %s, the newest version "+
			"that this release is shown with, and one that exists keeps its own", v.name, versionKey,
			c.KubernetesVersion()))
	}
	v.refuse(notProvisioned())
	v.checkExternalDatabase(c.VCluster.ControlPlane.BackingStore.Database.External)
	v.checkHostedReplicas(c.VCluster.ControlPlane.StatefulSet)
	v.checkSharedDatabase(c)
	v.checkMembers(c.VCluster.ControlPlane.BackingStore.Etcd.Deploy)
	v.checkMembersVolumes(c.VCluster.ControlPlane.BackingStore.Etcd.Deploy, c.Fleet.ControlPlane.Ephemeral)
	v.checkExposure(c.VCluster.ControlPlane)
	v.checkArguments(c.VCluster, c.KubernetesVersion())
	v.checkNetworkPolicy(c.VCluster)
	v.checkComponentConfigs(c)
	v.checkCoreDNSTexts(c.VCluster.ControlPlane.CoreDNS)
	v.checkHostedNetworks(c)
	c.checkPluginPaths(f)
	c.checkPool(v)
	f.checkFlannelNetwork(c)
	f.checkEncryption(c)
	c.checkAddresses(v, f, networksOf(c.VCluster.Networking.PodCIDR), networksOf(c.VCluster.Networking.ServiceCIDR))
}

// checkExternalDatabase checks that there is one data source. Its problems never show it.
func (d *document) checkExternalDatabase(e Database) {
	const key = "controlPlane.backingStore.database.external"
	d.object(key+".connector", e.Connector)
	switch inClear := !e.DataSource.Empty(); {
	case !e.Enabled && (inClear || e.Connector != ""):
		d.add(key, "has no effect without enabled: true, and the state would be in SQLite",
			"set enabled: true, or remove it")
	case !e.Enabled:
	case inClear && e.Connector != "":
		d.add(key+".dataSource", "cannot stand beside connector",
			"remove it, and keep the data source in the Secret that connector names")
	case inClear:
		if err := CheckDataSource(e.DataSource.Reveal()); err != nil {
			d.add(key+".dataSource", err.Error(), "")
		}
	case e.Connector == "":
		d.add(key+".connector", "is missing", "name a Secret beside the ConfigMap whose key dataSource holds the "+
			"data source of the database")
	}
}

// maxReplicas of the control plane: more only add load on the store.
const maxReplicas = 3

func (d *document) checkHostedReplicas(s StatefulSet) {
	if replicas := s.HighAvailability.Replicas; replicas > maxReplicas {
		d.add("controlPlane.statefulSet.highAvailability.replicas", strconv.Itoa(replicas)+" is too many", "use 1 to 3")
	}
	// While a pod is replaced, the next one has the volume already.
	for i, mode := range s.Persistence.VolumeClaim.AccessModes {
		if mode == string(corev1.ReadWriteOncePod) {
			d.add(fmt.Sprintf("controlPlane.statefulSet.persistence.volumeClaim.accessModes[%d]", i),
				"ReadWriteOncePod would keep the pod that takes over from starting", "use ReadWriteOnce")
		}
	}
}

// checkMembers checks that etcd's members may start together.
func (d *document) checkMembers(e DeployedEtcd) {
	s := e.StatefulSet
	if e.Enabled && s.HighAvailability.Replicas > 1 &&
		s.Scheduling.PodManagementPolicy == string(appsv1.OrderedReadyPodManagement) {
		d.add("controlPlane.backingStore.etcd.deploy.statefulSet.scheduling.podManagementPolicy",
			"OrderedReady would start the second member when the first is ready, and the first is not ready before "+
				"it has found the second", "use Parallel")
	}
}

// checkSharedDatabase refuses a volume for SQLite that several hosts may mount: such a volume is a network file system,
// and SQLite's write-ahead log is shared memory between the pods of one host.
func (d *document) checkSharedDatabase(c *Cluster) {
	if c.Store().Kind != StoreSQLite {
		return
	}
	for i, mode := range c.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim.AccessModes {
		if mode == string(corev1.ReadWriteMany) {
			d.add(fmt.Sprintf("controlPlane.statefulSet.persistence.volumeClaim.accessModes[%d]", i),
				"ReadWriteMany is of network file systems, on which SQLite's database may be damaged",
				"use ReadWriteOnce, with a class of local or block devices, or "+
					"controlPlane.backingStore.etcd.deploy.enabled: true")
		}
	}
}

// checkMembersVolumes refuses etcd without volumes: of three members two may restart at once, and a member that comes
// back empty takes its vote back. One member loses all its state, which the fleet has to accept.
func (d *document) checkMembersVolumes(e DeployedEtcd, ephemeral bool) {
	const key = "controlPlane.backingStore.etcd.deploy.statefulSet.persistence.volumeClaim.enabled"
	switch s := e.StatefulSet; {
	case !e.Enabled || s.Persistence.VolumeClaim.On():
	case s.HighAvailability.Replicas > 1:
		d.add(key, "without volumes a member that restarts has lost its vote, and two of them the cluster",
			"remove it; for trying things out, one member is enough")
	case !ephemeral:
		d.add(key, "without a volume the cluster ends with etcd's pod",
			"remove it; or set controlPlane.ephemeral: true in argosy.yaml, for trying things out")
	}
}

// podPorts returns the ports of konnectivity, the bundle server, the controller manager and the scheduler in the
// control plane's pods.
func podPorts() []int { return []int{8132, 8444, 10257, 10259} }

// checkExposure checks the address and port of the API server, and the Service in front of it.
func (d *document) checkExposure(c ControlPlane) {
	if address, err := netip.ParseAddr(c.Proxy.BindAddress); err != nil || address.IsLoopback() {
		d.add("controlPlane.proxy.bindAddress", shown(c.Proxy.BindAddress)+" is no address at which machines can "+
			"reach the API server", `remove it; the default is "0.0.0.0"`)
	}
	switch port := c.Proxy.Port; {
	case slices.Contains(podPorts(), port):
		d.add("controlPlane.proxy.port",
			strconv.Itoa(port)+" is the port of something else in the control plane's pods",
			"remove it; the default is 6443")
	case port > 0 && port < 1024:
		d.add("controlPlane.proxy.port", strconv.Itoa(port)+" can only be listened on by root, which the control "+
			"plane is not", "remove it; machines use the Service's port")
	}
	if c.Service.Spec["clusterIP"] == corev1.ClusterIPNone {
		d.add("controlPlane.service.spec.clusterIP", "None gives the Service no address, which the certificates and "+
			"kubeconfigs name, and leads past its ports to the pods'",
			"remove it; set controlPlane.endpoint when something else stands in front")
	}
	kind, _ := c.Service.Spec["type"].(string)
	if c.Service.HTTPSNodePort != 0 && kind != string(corev1.ServiceTypeNodePort) &&
		kind != string(corev1.ServiceTypeLoadBalancer) {
		d.add("controlPlane.service.httpsNodePort", "belongs to a Service of another type",
			"set controlPlane.service.spec.type: NodePort")
	}
}
