package config

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// refusal is a part of vcluster.yaml that cannot be had, with the reason and what to do instead.
type refusal struct {
	path    string
	when    func(*node) []*node
	reason  string
	instead string
}

const (
	noHostNodes = "is not possible with private nodes: workloads run on the cluster's own machines, and nothing is synced with the host cluster"
	onlyTrue    = "cannot be switched off with private nodes"
	turnOff     = "remove it, or set enabled: false"
)

// unsupported is what private nodes rule out. A setting that merely says what is true anyway, such as enabled: false,
// passes.
func unsupported() []refusal {
	return []refusal{
		{"sync", switchedOn, noHostNodes, turnOff},
		{"integrations", switchedOn, "is not possible with private nodes: integrations need syncing with the host cluster", turnOff + " and install the tool in the cluster"},
		{"networking.replicateServices", switchedOn, "is not possible with private nodes: services live in the cluster alone", "remove it"},
		{"networking.resolveDNS", switchedOn, "is not possible with private nodes: it needs the embedded CoreDNS", "remove it, and use controlPlane.coredns.overwriteConfig"},
		{"networking.advanced.fallbackHostCluster", switchedOn, "is not possible with private nodes: the machines do not see the host cluster's services", "remove it"},
		{"networking.advanced.proxyKubelets", switchedOn, "is not possible with private nodes: the kubelets are the cluster's own", "remove it"},
		{"controlPlane.distro.k3s", switchedOn, "is not possible with private nodes: machines join with kubeadm, which needs Kubernetes itself", "use controlPlane.distro.k8s"},
		{"controlPlane.distro.k0s", switchedOn, "is not possible with private nodes: machines join with kubeadm, which needs Kubernetes itself", "use controlPlane.distro.k8s"},
		{"controlPlane.distro.k8s.enabled", switchedOff, onlyTrue + ": it is the only distribution that machines can join", "remove it"},
		{"controlPlane.distro.k8s.apiServer.enabled", switchedOff, onlyTrue, "remove it"},
		{"controlPlane.distro.k8s.controllerManager.enabled", switchedOff, onlyTrue, "remove it"},
		{"controlPlane.distro.k8s.scheduler.enabled", switchedOff, onlyTrue + ": the cluster schedules onto its own machines", "remove it"},
		{"controlPlane.advanced.virtualScheduler.enabled", switchedOff, onlyTrue + ": the cluster schedules onto its own machines", "remove it"},
		{"controlPlane.coredns.embedded", switchedOn, "is not possible with private nodes: pods could not reach a CoreDNS outside the pod network", "remove it; CoreDNS runs in the cluster"},
		{"controlPlane.hostPathMapper", switchedOn, "is not possible with private nodes: host paths are the machine's own", turnOff},
		{"controlPlane.advanced.hostPathMapper", switchedOn, "is not possible with private nodes: host paths are the machine's own", turnOff},
		{"sleepMode", switchedOn, "is not possible with private nodes: neither workloads nor the control plane can sleep", turnOff},
		{"sleep", switchedOn, "is not possible with private nodes: neither workloads nor the control plane can sleep", turnOff},
		{"experimental.isolatedControlPlane", switchedOn, "is not possible with private nodes: the control plane is apart from the workloads already", turnOff},
		{"experimental.genericSync", switchedOn, noHostNodes, "remove it"},
		{"controlPlane.standalone", switchedOn, "is not supported: the control plane runs in the host cluster", turnOff + ", and list machines under machines in argosy.yaml"},
		{"privateNodes.autoNodes", switchedOn, "is not supported: Argosy joins machines that exist, it does not create them", "create them with your own tool, list them under machines in argosy.yaml, and submit the join workflow"},
		{"privateNodes.vpn", switchedOn, "is not supported: it needs the original's platform", turnOff + "; set cluster.endpoint in argosy.yaml to an address that the machines reach, or connect them with a VPN of your own before they join"},
		{"privateNodes.daemon", switchedOn, "is not supported: Argosy leaves no resident agent on a machine", turnOff + "; put a load balancer or a virtual address in front of the control plane"},
		{"privateNodes.defaultProfile", switchedOn, "is not supported: node profiles belong to the original's platform", "set labels and taints of machines in argosy.yaml"},
		{"deploy.volumeSnapshotController", written, "is not part of the schema any more", "remove it, and install the controller in the cluster"},
	}
}

// notYet is what this version reads and does not carry out. An entry goes when its feature comes.
func notYet() []refusal {
	const reason, instead = "is not carried out by this version", "remove it"
	return []refusal{
		{"privateNodes.joinNode.preInstallCommands", switchedOn, reason, instead},
		{"privateNodes.joinNode.preJoinCommands", switchedOn, reason, instead},
		{"privateNodes.joinNode.postJoinCommands", switchedOn, reason, instead},
		{"privateNodes.joinNode.containerd.enabled", switchedOff, reason, "remove it, and let Argosy install containerd"},
		{"privateNodes.joinNode.containerd.registry", anySet, reason, instead},
		{"privateNodes.joinNode.containerd.importImages", switchedOn, reason, instead},
	}
}

// notExisting is what only a cluster that Argosy provisions can have: in another one the objects are somebody else's.
func notExisting() []refusal {
	return []refusal{
		{"privateNodes.kubelet.config", beyond("cgroupDriver"), "is not carried out in a cluster that exists already: its kubelet-config is not Argosy's",
			"set it in the cluster's ConfigMap kube-system/kubelet-config"},
	}
}

// notProvisioned is what vcluster.yaml can say about a control plane and Argosy's does not do. An entry goes when its
// feature comes.
func notProvisioned() []refusal {
	return slices.Concat(notExposed(), notStored(), notInPods(), notDeployed(), notOfThePlatform())
}

// notExposed are ways to reach a control plane.
func notExposed() []refusal {
	const front = "; or put a proxy of your own in front that passes TLS through, and name it in controlPlane.endpoint"
	return []refusal{
		{"controlPlane.ingress", switchedOnExplicitly, "is not carried out: Argosy exposes a control plane by its Service", turnOff + " and set controlPlane.service.spec.type" + front},
		{"controlPlane.tlsRoute", switchedOnExplicitly, "is not carried out: Argosy exposes a control plane by its Service", turnOff + " and set controlPlane.service.spec.type" + front},
		{"controlPlane.advanced.kubeVip", switchedOnExplicitly, "is not carried out: the control plane's pods hold no address of their own", turnOff + " and set controlPlane.service.spec.type: LoadBalancer" + front},
		{"controlPlane.service.enabled", switchedOff, "cannot be switched off: the certificates and kubeconfigs name the Service", "remove it; set controlPlane.endpoint when something else stands in front"},
		{"controlPlane.service.kubeletNodePort", switchedOn, "is not possible with private nodes: the kubelets are the cluster's own", "remove it"},
		{"controlPlane.service.spec.ports", written, "is Argosy's own: API server, Konnectivity and bundles have their ports", "remove it; set controlPlane.service.httpsNodePort to choose a node port"},
		{"controlPlane.service.spec.selector", written, "is Argosy's own: the Service leads to the control plane's pods", "remove it"},
	}
}

// notStored are ways to keep a control plane's state.
func notStored() []refusal {
	const (
		store  = "controlPlane.backingStore."
		etcd   = "is not supported in this version"
		noFile = "is not carried out: there is no way to put the file into the control plane's pods"
		volume = "is not carried out: volumeClaim describes the volume"
	)
	rows := []refusal{
		{store + "etcd.embedded", switchedOnExplicitly, etcd, "set " + store + "etcd.deploy.enabled: true, which runs etcd beside the control plane, with 1 or 3 members"},
		{store + "etcd.external", switchedOnExplicitly, etcd + ": its certificates cannot be put into the control plane's pods", "set " + store + "etcd.deploy.enabled: true, which runs etcd beside the control plane, with 1 or 3 members"},
		{store + "database.embedded.dataSource", switchedOn, "is Argosy's own: the embedded database is a file on the control plane's volume", "remove it; " + store + "database.external is for databases elsewhere"},
		{store + "database.external.identityProvider", switchedOn, "is not supported in this version", "remove it, and write user and password into the data source"},
		{store + "database.external.certFile", switchedOn, noFile, "remove it, and write user and password into the data source"},
		{store + "database.external.keyFile", switchedOn, noFile, "remove it, and write user and password into the data source"},
		{store + "database.external.caFile", switchedOn, noFile, `remove it, and ask for TLS in the data source, e.g. "?sslmode=require"`},
	}
	for _, set := range []string{"controlPlane.statefulSet", store + "etcd.deploy.statefulSet"} {
		rows = append(rows,
			refusal{set + ".persistence.volumeClaimTemplates", switchedOn, volume, "remove it, and set size, storageClass and accessModes of volumeClaim"},
			refusal{set + ".persistence.dataVolume", switchedOn, volume, "remove it, and set size, storageClass and accessModes of volumeClaim"},
			refusal{set + ".persistence.binariesVolume", beyondEmptyDir, "is not carried out: binaries run from their image", "remove it"},
		)
	}
	return rows
}

// notInPods is what would change how the control plane's pods run.
func notInPods() []refusal {
	const set = "controlPlane.statefulSet."
	return []refusal{
		{set + "image", anySet, "is the original's own program, which Argosy does not run", "remove it; controlPlane.distro.k8s.image holds the control plane's binaries, controlPlane.image in argosy.yaml is Argosy's own"},
		{set + "command", switchedOn, "is not carried out: every component has a container of its own", "remove it; controlPlane.distro.k8s.{apiServer,controllerManager,scheduler}.command replace theirs"},
		{set + "args", switchedOn, "is not carried out: every component has a container of its own", "remove it; controlPlane.distro.k8s.{apiServer,controllerManager,scheduler}.extraArgs are added to theirs"},
		{"controlPlane.distro.k8s.resources", anySet, "is not carried out: there is no container that copies binaries", "remove it; controlPlane.statefulSet.resources are the API server's"},
		{"controlPlane.distro.k8s.securityContext", anySet, "is not carried out: there is no container that copies binaries", "remove it; controlPlane.statefulSet.security holds for the control plane's pods"},
		{"controlPlane.serviceMonitor", switchedOnExplicitly, "is not carried out by this version", turnOff + " and create a ServiceMonitor for the control plane's Service yourself"},
		{"controlPlane.advanced.workloadServiceAccount", beyond("enabled"), "is not possible with private nodes: workloads run on the cluster's own machines", "remove it, and create service accounts in the cluster"},
		{"rbac.role.extraRules", switchedOn, "is not carried out: the control plane needs no rights in the host cluster", "remove it"},
		{"rbac.role.overwriteRules", switchedOn, "is not carried out: the control plane needs no rights in the host cluster", "remove it"},
		{"rbac.clusterRole", switchedOn, "is not carried out: the control plane needs no rights in the host cluster", "remove it"},
		{"plugins", switchedOn, "is not possible: plugins belong to the original's syncer", "remove it"},
		{"plugin", switchedOn, "is not possible: plugins belong to the original's syncer", "remove it"},
	}
}

// notDeployed is what would run in the cluster, or bound it.
func notDeployed() []refusal {
	return []refusal{
		{"controlPlane.advanced.registry", switchedOnExplicitly, "is not carried out: the control plane carries no registry", turnOff + ", run a registry of your own, and name it in controlPlane.advanced.defaultImageRegistry"},
		{"controlPlane.advanced.cloudControllerManager.kubeOvn", switchedOnExplicitly, "is not carried out by this version", turnOff + " and install Kube-OVN's cloud controller manager in the cluster"},
		{"deploy.csi.kubeVirt", switchedOnExplicitly, "is not carried out by this version", turnOff + " and install the driver in the cluster"},
		{"deploy.argoCD.applications", switchedOn, "is not carried out by this version", "remove it, and let Argo CD of the host cluster create them with the admin kubeconfig"},
		{"deploy.ingressNginx", switchedOnExplicitly, "is not carried out: the project has ended", turnOff + " and install an ingress controller in the cluster"},
		{"policies.resourceQuota", switchedOn, "is not carried out by this version", turnOff + " and create a ResourceQuota in the host cluster's namespace"},
		{"policies.limitRange", switchedOn, "is not carried out by this version", turnOff + " and create a LimitRange in the host cluster's namespace"},
		{"policies.networkPolicy", switchedOn, "is not carried out by this version", turnOff + " and create a NetworkPolicy for the control plane's pods in the host cluster's namespace"},
		{"policies.podSecurityStandard", switchedOn, "is not carried out by this version", "remove it, and label the cluster's namespaces with pod-security.kubernetes.io/enforce"},
		{"policies.centralAdmission", switchedOn, "is not carried out by this version", "remove it, and create the webhook configurations in the cluster"},
		{"exportKubeConfig", switchedOn, "is not carried out: the admin kubeconfig is in Secret <cluster>-kubeconfig", "remove it"},
		{"experimental", experiments, "is not carried out", "remove it; what it would deploy can be applied with the admin kubeconfig"},
		{"logging.encoding", otherThanConsole, "is not carried out", `remove it; "--logging-format=json" in the components' extraArgs makes them log JSON`},
	}
}

// notOfThePlatform are settings of the original's platform, which Argosy does without.
func notOfThePlatform() []refusal {
	const reason = "belongs to the original's platform, which Argosy does without"
	return []refusal{
		{"external", switchedOn, reason, "remove it"},
		{"platform", switchedOn, reason, "remove it"},
		{"snapshots", switchedOn, reason, "remove it, and schedule the backup workflow"},
		{"deletion", switchedOn, reason, "remove it, and submit the deprovision workflow"},
	}
}

// refuse notes everything in the document that one of the refusals matches.
func (d *document) refuse(refusals []refusal) {
	for _, r := range refusals {
		n := d.root.find(r.path)
		if n == nil {
			continue
		}
		for _, place := range r.when(n) {
			d.add(place.path, r.reason, r.instead)
		}
	}
}

// switchedOn returns the places that switch something on: every "enabled: true", and every other setting that is not
// under an "enabled: false". "auto" leaves the choice to private nodes, and false, null, zero and empty are nothing.
//
//	enabled: true                   that key
//	enabled: false, or auto         nothing, whatever stands beside it
//	true, 1, text, a filled list    that value
func switchedOn(n *node) []*node {
	switch n.kind {
	case yaml.SequenceNode:
		if len(n.items) > 0 {
			return []*node{n}
		}
		return nil
	case yaml.MappingNode:
		if enabled := n.get("enabled"); enabled != nil {
			return switchedOn(enabled)
		}
		var places []*node
		for _, f := range n.fields {
			places = append(places, switchedOn(f.value)...)
		}
		return places
	}
	if n.tag == nullTag || n.text == "" || n.text == "0" || n.text == "auto" || isFalse(n) {
		return nil
	}
	return []*node{n}
}

// switchedOnExplicitly returns a mapping's "enabled: true": what is off by default is off whatever else it says.
func switchedOnExplicitly(n *node) []*node {
	enabled := n.get("enabled")
	if enabled == nil {
		return nil
	}
	return switchedOn(enabled)
}

// switchedOff returns a value that is false.
func switchedOff(n *node) []*node {
	if isFalse(n) {
		return []*node{n}
	}
	return nil
}

func isFalse(n *node) bool {
	return n.kind == yaml.ScalarNode && n.tag == "!!bool" && (n.text == "false" || n.text == "False" || n.text == "FALSE")
}

// written returns a value that is there at all, unless it is null.
func written(n *node) []*node {
	if n.tag == nullTag {
		return nil
	}
	return []*node{n}
}

// anySet returns each entry of a mapping that holds anything.
func anySet(n *node) []*node {
	var places []*node
	for _, f := range n.fields {
		if f.value.tag != nullTag && (f.value.kind == yaml.ScalarNode && f.value.text != "" || len(f.value.fields)+len(f.value.items) > 0) {
			places = append(places, f.value)
		}
	}
	return places
}

// beyond returns what a mapping sets besides one key, which is harmless.
func beyond(key string) func(*node) []*node {
	return func(n *node) []*node {
		return slices.DeleteFunc(anySet(n), func(place *node) bool { return place == n.get(key) })
	}
}

// beyondEmptyDir returns the volumes of a list that are something else than empty folders.
func beyondEmptyDir(n *node) []*node {
	var places []*node
	for _, volume := range n.items {
		if volume.get("emptyDir") == nil {
			places = append(places, volume)
		}
	}
	return places
}

// experiments returns what section experimental switches on, except what has a row of its own and what the original's own
// defaults say.
func experiments(n *node) []*node {
	var places []*node
	for _, f := range n.fields {
		switch f.name {
		case "isolatedControlPlane", "genericSync":
		case "syncSettings":
			for _, setting := range f.value.fields {
				if setting.name != "setOwner" {
					places = append(places, switchedOn(setting.value)...)
				}
			}
		default:
			places = append(places, switchedOn(f.value)...)
		}
	}
	return places
}

// otherThanConsole returns a log format that is not the usual one.
func otherThanConsole(n *node) []*node {
	if n.text == "console" {
		return nil
	}
	return switchedOn(n)
}
