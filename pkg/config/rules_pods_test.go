package config_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

func TestPodSettingsAreCheckedKeyByKey(t *testing.T) {
	const (
		set  = "controlPlane.statefulSet."
		etcd = "controlPlane.backingStore.etcd.deploy.statefulSet."
		dns  = "controlPlane.coredns."
	)
	inSet := func(text string) string { return "controlPlane: {statefulSet: " + text + "}\n" }
	inEtcd := func(text string) string {
		return "controlPlane: {backingStore: {etcd: {deploy: {enabled: true, statefulSet: " + text + "}}}}\n"
	}
	inDNS := func(text string) string { return "controlPlane: {coredns: " + text + "}\n" }
	advanced := func(text string) string { return "controlPlane: {advanced: " + text + "}\n" }
	for name, test := range map[string]struct{ vcluster, key, want string }{
		"unknown section": {inSet("{presistence: {}}"), set + "presistence", `did you mean "persistence"?`},
		"unknown key of a claim": {
			inSet("{persistence: {volumeClaim: {storageClas: a}}}"),
			set + "persistence.volumeClaim.storageClas", `did you mean "storageClass"?`,
		},
		"unknown key of etcd": {
			inEtcd("{highAvailability: {replica: 3}}"), etcd + "highAvailability.replica",
			`did you mean "replicas"?`,
		},
		"unknown key of a probe": {
			inSet("{probes: {livenessProbe: {periodSecond: 3}}}"),
			set + "probes.livenessProbe.periodSecond", `did you mean "periodSeconds"?`,
		},
		"unknown key of pods": {inSet("{pods: {label: {}}}"), set + "pods.label", `did you mean "labels"?`},
		"unknown key of resources": {
			inSet("{resources: {limit: {cpu: 1}}}"), set + "resources.limit",
			`did you mean "limits"?`,
		},
		"unknown key of CoreDNS": {inDNS("{service: {specs: {}}}"), dns + "service.specs", `did you mean "spec"?`},

		"label": {
			inSet("{pods: {labels: {'a b': c}}}"), set + `pods.labels["a b"]`,
			"not a name for a label",
		},
		"annotation": {
			inSet("{pods: {annotations: {'a b': c}}}"), set + `pods.annotations["a b"]`,
			"not a name for an annotation",
		},
		"amount": {
			inSet("{resources: {requests: {memory: much}}}"), set + "resources.requests.memory",
			`write e.g. "200m" for cpu`,
		},
		"amount below nothing": {
			inEtcd("{resources: {limits: {cpu: -1}}}"), etcd + "resources.limits.cpu",
			"not an amount",
		},
		"amount as a list": {
			inEtcd("{resources: {limits: {cpu: [1]}}}"), etcd + "resources.limits.cpu",
			"not an amount",
		},
		"more than its limit": {
			inSet("{resources: {requests: {cpu: 2}, limits: {cpu: 500m}}}"),
			set + "resources.requests.cpu", "is more than the limit 500m",
		},

		"affinity": {
			inSet("{scheduling: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecutions: " +
				"{}}}}}"),
			set + "scheduling.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecutions",
			`did you mean "requiredDuringSchedulingIgnoredDuringExecution"?`,
		},
		"toleration": {
			inSet("{scheduling: {tolerations: [{key: a}, {efect: NoSchedule}]}}"),
			set + "scheduling.tolerations[1].efect", `unknown key in a Kubernetes Toleration; did you mean "effect"?`,
		},
		"spread": {
			inEtcd("{scheduling: {topologySpreadConstraints: [{maxSkew: one}]}}"),
			etcd + "scheduling.topologySpreadConstraints[0].maxSkew", "must be a whole number, not text",
		},
		"pod management": {
			inSet("{scheduling: {podManagementPolicy: parallel}}"),
			set + "scheduling.podManagementPolicy", `did you mean "Parallel"?`,
		},
		"priority class": {
			inSet("{scheduling: {priorityClassName: A}}"), set + "scheduling.priorityClassName",
			"name that Kubernetes allows",
		},
		"case of a key": {
			inSet("{security: {containerSecurityContext: {runasuser: 1}}}"),
			set + "security.containerSecurityContext.runasuser", `did you mean "runAsUser"?`,
		},
		"capabilities": {
			inEtcd("{security: {containerSecurityContext: {capabilities: {dorp: [ALL]}}}}"),
			etcd + "security.containerSecurityContext.capabilities.dorp", `did you mean "drop"?`,
		},
		"an odd key": {
			inSet("{security: {podSecurityContext: {\"a\\nb\": 1}}}"),
			set + `security.podSecurityContext["a\nb"]`, "unknown key in a Kubernetes PodSecurityContext",
		},
		"volume": {
			inSet("{persistence: {addVolumes: [{name: a, emptydir: {}}]}}"),
			set + "persistence.addVolumes[0].emptydir", `did you mean "emptyDir"?`,
		},
		"mount": {
			inEtcd("{persistence: {addVolumeMounts: [{name: a, path: /a}]}}"),
			etcd + "persistence.addVolumeMounts[0].path", "unknown key in a Kubernetes VolumeMount",
		},
		"environment": {inEtcd("{env: [{name: a, val: b}]}"), etcd + "env[0].val", `did you mean "value"?`},
		"volume claim": {
			inSet("{persistence: {volumeClaim: {enabled: maybe}}}"),
			set + "persistence.volumeClaim.enabled", "must be true, false or auto",
		},
		"size": {
			inEtcd("{persistence: {volumeClaim: {size: big}}}"),
			etcd + "persistence.volumeClaim.size", "not an amount of bytes",
		},
		"retention": {
			inSet("{persistence: {volumeClaim: {retentionPolicy: Keep}}}"),
			set + "persistence.volumeClaim.retentionPolicy", "use Retain or Delete",
		},
		"access mode": {
			inSet("{persistence: {volumeClaim: {accessModes: [ReadOnlyMany]}}}"),
			set + "persistence.volumeClaim.accessModes[0]", "is not known",
		},
		"probe": {
			inSet("{probes: {startupProbe: {timeoutSeconds: -1}}}"),
			set + "probes.startupProbe.timeoutSeconds", "is negative",
		},
		"DNS policy": {inSet("{dnsPolicy: clusterFirst}"), set + "dnsPolicy", `did you mean "ClusterFirst"?`},
		"sidecar": {
			inSet("{sidecarContainers: [{name: a, images: b}]}"),
			set + "sidecarContainers[0].images", `did you mean "image"?`,
		},
		"type of a Service": {
			"controlPlane: {service: {spec: {type: ExternalName}}}\n",
			"controlPlane.service.spec.type", "is not known; use ClusterIP, NodePort or LoadBalancer",
		},
		"key of a Service": {
			"controlPlane: {service: {spec: {loadBalancerip: 192.0.2.1}}}\n",
			"controlPlane.service.spec.loadBalancerip", `did you mean "loadBalancerIP"?`,
		},
		"replicas of CoreDNS": {inDNS("{deployment: {replicas: 0}}"), dns + "deployment.replicas", "too few"},
		"affinity of CoreDNS": {
			inDNS("{deployment: {affinity: {podAffinty: {}}}}"),
			dns + "deployment.affinity.podAffinty", `did you mean "podAffinity"?`,
		},
		"image of a component": {
			"controlPlane: {distro: {k8s: {apiServer: {image: 'a b'}}}}\n",
			"controlPlane.distro.k8s.apiServer.image", "not the name of an image",
		},
		"repository": {
			"controlPlane: {distro: {k8s: {image: {repository: 'ghcr.io/a:v1'}}}}\n",
			"controlPlane.distro.k8s.image.repository", "registry and tag have keys of their own",
		},
		"registry": {
			"controlPlane: {distro: {k8s: {image: {registry: 'https://ghcr.io'}}}}\n",
			"controlPlane.distro.k8s.image.registry", "without a scheme",
		},

		"default registry": {
			advanced("{defaultImageRegistry: 'https://registry.example.com'}"),
			"controlPlane.advanced.defaultImageRegistry", "without a scheme",
		},
		"budget": {
			advanced("{podDisruptionBudget: {minAvailable: half}}"),
			"controlPlane.advanced.podDisruptionBudget.minAvailable", "neither a number nor a percentage",
		},
		"budget above all": {
			advanced("{podDisruptionBudget: {maxUnavailable: 101%}}"),
			"controlPlane.advanced.podDisruptionBudget.maxUnavailable", "neither a number nor a percentage",
		},
		"pull secret": {
			advanced("{serviceAccount: {imagePullSecrets: [{name: ''}]}}"),
			"controlPlane.advanced.serviceAccount.imagePullSecrets[0].name", "kubernetes.io/dockerconfigjson",
		},
		"an agent alone": {
			advanced("{konnectivity: {server: {enabled: false}}}"),
			"controlPlane.advanced.konnectivity.agent.enabled",
			"only of use together; set controlPlane.advanced.konnectivity.enabled: false",
		},
		"a server alone": {
			advanced("{konnectivity: {agent: {enabled: false}}}"),
			"controlPlane.advanced.konnectivity.agent.enabled", "only of use together",
		},
		"no agents": {
			advanced("{konnectivity: {agent: {replicas: 0}}}"),
			"controlPlane.advanced.konnectivity.agent.replicas", "too few",
		},
		"a range upside down": {
			"deploy: {metallb: {ipAddressPool: {addresses: [10.0.0.9-10.0.0.1]}}}\n",
			"deploy.metallb.ipAddressPool.addresses[0]", "neither a network nor a range",
		},
		"a range of families": {
			"deploy: {metallb: {ipAddressPool: {addresses: ['10.0.0.9-fd00::1']}}}\n",
			"deploy.metallb.ipAddressPool.addresses[0]", "neither a network nor a range",
		},
		"kube-proxy toleration": {
			"deploy: {kubeProxy: {tolerations: [{operater: Exists}]}}\n",
			"deploy.kubeProxy.tolerations[0].operater", `did you mean "operator"?`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, problemsOf(t, goodVCluster+test.vcluster, goodFleet), test.key, test.want)
		})
	}
}

// The sections in full, as the original's users write them.
func TestSectionsThatDescribePodsAreRead(t *testing.T) {
	c := parse(t, goodVCluster+`
controlPlane:
  distro: {k8s: {version: v1.34.4, image: {registry: 'registry.example.com:5000/mirror', repository: loft-sh/kubernetes}}}
  statefulSet:
    labels: {team: a}
    pods: {labels: {team: a}, annotations: {example.com/note: "a b"}}
    resources: {requests: {cpu: 1, memory: 256Mi}, limits: {cpu: 1.5, memory: 2Gi, ephemeral-storage: 8Gi}}
    scheduling:
      nodeSelector: {zone: a}
      tolerations: [{key: infra, operator: Exists, effect: NoSchedule}]
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]
      affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: a, labelSelector: {matchLabels: {a: b}}}]}}
    security: {podSecurityContext: {runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}, containerSecurityContext: {capabilities: {drop: [ALL]}}}
    persistence:
      volumeClaim: {enabled: true, size: 20Gi, storageClass: fast}
      addVolumes: [{name: extra, configMap: {name: extra}}]
      addVolumeMounts: [{name: extra, mountPath: /extra}]
    probes: {livenessProbe: {enabled: false}, startupProbe: {failureThreshold: 300, periodSeconds: 6}}
  coredns:
    service: {labels: {a: b}, spec: {type: ClusterIP}}
    deployment: {replicas: 2, pods: {labels: {a: b}}, resources: {limits: {cpu: 1000m}}}
  advanced:
    podDisruptionBudget: {enabled: true, maxUnavailable: 1}
    serviceAccount: {imagePullSecrets: [{name: login}]}
`, hostedFleet)
	set := c.VCluster.ControlPlane.StatefulSet
	assert.Equal(t, set.Pods.Annotations["example.com/note"], "a b")
	assert.Equal(t, set.Resources.Limits["cpu"], 1.5)
	assert.Equal(t, set.Persistence.VolumeClaim.Size, "20Gi")
	assert.Equal(t, set.Persistence.VolumeClaim.RetentionPolicy, "Retain")
	assert.DeepEqual(t, set.Probes, config.Probes{
		ReadinessProbe: config.Probe{Enabled: true}, StartupProbe: config.Probe{
			Enabled: true, FailureThreshold: 300,
			PeriodSeconds: 6,
		},
	})
	assert.Equal(t, set.Scheduling.PodManagementPolicy, "Parallel")
	assert.Equal(t, c.VCluster.ControlPlane.CoreDNS.Deployment.Replicas, 2)
	assert.Equal(t, c.ControlPlaneImage(), "registry.example.com:5000/mirror/loft-sh/kubernetes:v1.34.4-full")
}
