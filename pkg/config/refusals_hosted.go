package config

import "slices"

// notProvisioned returns the refusals of settings that Argosy's control plane does not carry out. A refusal is removed
// when its feature is added.
func notProvisioned() []refusal {
	return slices.Concat(notExposed(), notStored(), notInPods(), notDeployed(), notOfThePlatform())
}

// notExposed returns the refusals of ways to reach a control plane.
func notExposed() []refusal {
	const front = "; or put a proxy of your own in front that passes TLS through, and name it in controlPlane.endpoint"
	return []refusal{
		{"controlPlane.ingress", switchedOnExplicitly, "is not carried out: Argosy exposes a control plane by its " +
			"Service", turnOff + " and set controlPlane.service.spec.type" + front},
		{"controlPlane.tlsRoute", switchedOnExplicitly, "is not carried out: Argosy exposes a control plane by its " +
			"Service", turnOff + " and set controlPlane.service.spec.type" + front},
		{
			"controlPlane.advanced.kubeVip", switchedOnExplicitly,
			"is not carried out: the control plane's pods hold no address of their own",
			turnOff + " and set controlPlane.service.spec.type: LoadBalancer" + front,
		},
		{"controlPlane.service.enabled", switchedOff, "cannot be switched off: the certificates and kubeconfigs name " +
			"the Service", "remove it; set controlPlane.endpoint when something else stands in front"},
		{
			"controlPlane.service.kubeletNodePort", switchedOn,
			"is not possible with private nodes: the kubelets are the cluster's own", "remove it",
		},
		{"controlPlane.service.spec.ports", written, "is Argosy's own: API server, Konnectivity and bundles have " +
			"their ports", "remove it; set controlPlane.service.httpsNodePort to choose a node port"},
		{
			"controlPlane.service.spec.selector", written,
			"is Argosy's own: the Service leads to the control plane's pods",
			"remove it",
		},
	}
}

// notStored returns the refusals of ways to store a control plane's state.
func notStored() []refusal {
	const (
		store    = "controlPlane.backingStore."
		etcd     = "is not supported in this version"
		deployed = "set " + store + "etcd.deploy.enabled: true, which runs etcd beside the control plane, with 1 or " +
			"3 members"
		noFile = "is not carried out: there is no way to put the file into the control plane's pods"
		volume = "is not carried out: volumeClaim describes the volume"
	)
	rows := []refusal{
		{store + "etcd.deploy.service", beyond("enabled"), "is not carried out: the control plane asks etcd's " +
			"members by name", "remove it"},
		{store + "etcd.deploy.headlessService", anySet, etcd, "remove it"},
		{
			store + "etcd.embedded", switchedOnExplicitly, etcd,
			deployed,
		},
		{
			store + "etcd.external", switchedOnExplicitly, etcd +
				": its certificates cannot be put into the control plane's pods",
			deployed,
		},
		{
			store + "database.embedded.dataSource", switchedOn,
			"is Argosy's own: the embedded database is a file on the control plane's volume",
			"remove it; " + store + "database.external is for databases elsewhere",
		},
		{
			store + "database.external.identityProvider", switchedOn, "is not supported in this version",
			"remove it, and write user and password into the data source",
		},
		{
			store + "database.external.certFile", switchedOn, noFile,
			"remove it, and write user and password into the data source",
		},
		{
			store + "database.external.keyFile", switchedOn, noFile,
			"remove it, and write user and password into the data source",
		},
		{
			store + "database.external.caFile", switchedOn, noFile,
			`remove it, and ask for TLS in the data source, e.g. "?sslmode=require"`,
		},
	}
	for _, setting := range []string{"connector", "identityProvider", "certFile", "keyFile", "caFile"} {
		rows = append(rows, refusal{
			store + "database.embedded." + setting, switchedOn,
			"is of a database server, and the embedded database is SQLite, a file on the control plane's volume",
			"remove it; " + store + "database.external is for databases elsewhere",
		})
	}
	for _, set := range []string{"controlPlane.statefulSet", store + "etcd.deploy.statefulSet"} {
		rows = append(rows,
			refusal{
				set + ".persistence.volumeClaimTemplates", switchedOn, volume,
				"remove it, and set size, storageClass and accessModes of volumeClaim",
			},
			refusal{
				set + ".persistence.dataVolume", switchedOn, volume,
				"remove it, and set size, storageClass and accessModes of volumeClaim",
			},
			refusal{
				set + ".persistence.volumeClaim.retentionPolicy", otherThan("Retain"),
				"is not carried out: volumes stay when a cluster is deprovisioned, unless that workflow is told " +
					"otherwise", "remove it, and submit the deprovision workflow with keepVolumes=false",
			},
			refusal{
				set + ".persistence.binariesVolume", beyondEmptyDir,
				"is not carried out: binaries run from their image", "remove it",
			},
		)
	}
	return rows
}

// notInPods returns the refusals of settings of the control plane's pods.
func notInPods() []refusal {
	const set = "controlPlane.statefulSet."
	return []refusal{
		{
			set + "image", anySet, "is the original's own program, which Argosy does not run",
			"remove it; controlPlane.distro.k8s.image holds the control plane's binaries, controlPlane.image in " +
				"argosy.yaml is Argosy's own",
		},
		{
			set + "command", switchedOn, "is not carried out: every component has a container of its own",
			"remove it; controlPlane.distro.k8s.{apiServer,controllerManager,scheduler}.command replace theirs",
		},
		{
			set + "args", switchedOn, "is not carried out: every component has a container of its own",
			"remove it; controlPlane.distro.k8s.{apiServer,controllerManager,scheduler}.extraArgs are added to theirs",
		},
		{
			"controlPlane.distro.k8s.resources", anySet,
			"is not carried out: there is no container that copies binaries",
			"remove it; controlPlane.statefulSet.resources are the API server's",
		},
		{
			"controlPlane.distro.k8s.securityContext", anySet,
			"is not carried out: there is no container that copies binaries",
			"remove it; controlPlane.statefulSet.security holds for the control plane's pods",
		},
		{
			"controlPlane.distro.k8s.env", switchedOn, "is not carried out by this version",
			"remove it; controlPlane.statefulSet.env is the API server's",
		},
		{
			"controlPlane.advanced.podDisruptionBudget.minAvailable", switchedOn,
			"is not carried out: one pod at a time may be away", "remove it",
		},
		{
			"controlPlane.advanced.podDisruptionBudget.maxUnavailable", otherThan("1"),
			"is not carried out: one pod at a time may be away", "remove it",
		},
		{
			"controlPlane.advanced.serviceAccount", beyond("enabled", "imagePullSecrets"),
			"is not carried out: the control plane's pods use no service account", "remove it",
		},
		{
			"controlPlane.advanced.headlessService", anySet, "is not carried out by this version",
			"remove it; controlPlane.service has labels and annotations",
		},
		{
			"controlPlane.advanced.globalMetadata", anySet, "is not carried out by this version",
			"remove it; controlPlane.service and controlPlane.statefulSet have annotations of their own",
		},
		{
			"controlPlane.serviceMonitor", switchedOnExplicitly, "is not carried out by this version",
			turnOff + " and create a ServiceMonitor for the control plane's Service yourself",
		},
		{
			"controlPlane.advanced.workloadServiceAccount", beyond("enabled"),
			"is not possible with private nodes: workloads run on the cluster's own machines",
			"remove it, and create service accounts in the cluster",
		},
		{
			"rbac.role.extraRules", switchedOn,
			"is not carried out: the control plane needs no rights in the host cluster",
			"remove it",
		},
		{"rbac.role.overwriteRules", switchedOn, "is not carried out: the control plane needs no rights in the host " +
			"cluster", "remove it"},
		{
			"rbac.clusterRole", switchedOn, "is not carried out: the control plane needs no rights in the host cluster",
			"remove it",
		},
		{"plugins", switchedOn, "is not possible: plugins belong to the original's syncer", "remove it"},
		{"plugin", switchedOn, "is not possible: plugins belong to the original's syncer", "remove it"},
	}
}

// notDeployed returns the refusals of addons, and of policies for the host cluster's namespace.
func notDeployed() []refusal {
	return []refusal{
		{
			"controlPlane.advanced.registry", switchedOnExplicitly,
			"is not carried out: the control plane carries no registry",
			turnOff + ", run a registry of your own, and name it in controlPlane.advanced.defaultImageRegistry",
		},
		{
			"controlPlane.advanced.cloudControllerManager.kubeOvn", switchedOnExplicitly,
			"is not carried out by this version", turnOff +
				" and install Kube-OVN's cloud controller manager in the cluster",
		},
		{
			"deploy.csi.kubeVirt", switchedOnExplicitly, "is not carried out by this version",
			turnOff + " and install the driver in the cluster",
		},
		{
			"deploy.argoCD.applications", switchedOn, "is not carried out by this version",
			"remove it, and let Argo CD of the host cluster create them with the admin kubeconfig",
		},
		{
			"deploy.ingressNginx", switchedOnExplicitly, "is not carried out: the project has ended",
			turnOff + " and install an ingress controller in the cluster",
		},
		{
			"policies.resourceQuota", switchedOn, "is not carried out by this version",
			turnOff + " and create a ResourceQuota in the host cluster's namespace",
		},
		{
			"policies.limitRange", switchedOn, "is not carried out by this version",
			turnOff + " and create a LimitRange in the host cluster's namespace",
		},
		{
			"policies.networkPolicy", ofWorkloads, "is not possible with private nodes: workloads run on the " +
				"cluster's own machines", "remove it, and create NetworkPolicies in the cluster",
		},
		{
			"policies.podSecurityStandard", switchedOn, "is not carried out by this version",
			"remove it, and label the cluster's namespaces with pod-security.kubernetes.io/enforce",
		},
		{
			"policies.centralAdmission", switchedOn, "is not carried out by this version",
			"remove it, and create the webhook configurations in the cluster",
		},
		{
			"exportKubeConfig", switchedOn,
			"is not carried out: the admin kubeconfig is in Secret <cluster>-kubeconfig",
			"remove it",
		},
		{
			"experimental", experiments, "is not carried out",
			"remove it; what it would deploy can be applied with the admin kubeconfig",
		},
		{
			"logging.file", switchedOnExplicitly, "is not carried out: the components log to their containers' output",
			turnOff + " and have the host cluster collect the logs of the control plane's pods",
		},
		{
			"logging.encoding", otherThan("console"), "is not carried out",
			`remove it; "--logging-format=json" in the components' extraArgs makes them log JSON`,
		},
	}
}

// ofWorkloads returns the settings of policies.networkPolicy, where it is on, that are about workloads in the host
// cluster.
func ofWorkloads(n *node) []*node {
	if len(switchedOnExplicitly(n)) == 0 {
		return nil
	}
	var found []*node
	for _, name := range []string{"fallbackDns", "workload", "outgoingConnections", "extraWorkloadRules"} {
		if setting := n.get(name); setting != nil {
			found = append(found, switchedOn(setting)...)
		}
	}
	return found
}

// notOfThePlatform returns the refusals of settings of the original's platform, which Argosy does without.
func notOfThePlatform() []refusal {
	const reason = "belongs to the original's platform, which Argosy does without"
	return []refusal{
		{"external", switchedOn, reason, "remove it"},
		{"platform", switchedOn, reason, "remove it"},
		{"snapshots", switchedOn, reason, "remove it, and schedule the backup workflow"},
		{"deletion", switchedOn, reason, "remove it, and submit the deprovision workflow"},
	}
}
