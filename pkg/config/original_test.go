package config_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

// Settings that the original rejects when its control plane has started. Each is refused here before anything is
// touched, for both kinds of control plane, at the key that is wrong and with a way out.
func TestSettingsThatTheOriginalRejectsAreRefused(t *testing.T) {
	const off = "privateNodes: {enabled: false}\n"
	for name, test := range map[string]struct{ vcluster, key string }{
		"an endpoint without private nodes": {off + "controlPlane: {endpoint: 'a:443'}\n", "privateNodes.enabled"},
		"KubeVirt's CSI without private nodes": {off + "deploy: {csi: {kubeVirt: {enabled: true, storageClass: " +
			"{default: false}}}}\n", "privateNodes.enabled"},
		"Kube-OVN without private nodes": {off + "controlPlane: {advanced: {cloudControllerManager: {kubeOvn: " +
			"{enabled: true, vpc: a, loadBalancers: {externalSubnet: b}}}}}\n", "privateNodes.enabled"},
		"an endpoint that is no host and port": {
			goodVCluster + "controlPlane: {endpoint: 'https://a:443'}\n",
			"controlPlane.endpoint",
		},
		"Kube-OVN without a VPC": {goodVCluster +
			"controlPlane: {advanced: {cloudControllerManager: {kubeOvn: {enabled: true, loadBalancers: " +
			"{externalSubnet: b}}}}}\n", "controlPlane.advanced.cloudControllerManager.kubeOvn.vpc"},
		"Kube-OVN without an external subnet": {
			goodVCluster +
				"controlPlane: {advanced: {cloudControllerManager: {kubeOvn: {enabled: true, vpc: a}}}}\n",
			"controlPlane.advanced.cloudControllerManager.kubeOvn.loadBalancers.externalSubnet",
		},
		"pod routes without a pod network": {goodVCluster +
			"controlPlane: {advanced: {cloudControllerManager: {kubeOvn: {enabled: true, vpc: a, loadBalancers: " +
			"{externalSubnet: b, backendSubnet: c}, podRoutes: {enabled: true}}}}}\n", "networking.podCIDR"},
		"pod routes without a backend subnet": {
			goodVCluster +
				"controlPlane: {advanced: {cloudControllerManager: {kubeOvn: {enabled: true, vpc: a, loadBalancers: " +
				"{externalSubnet: b}, podRoutes: {enabled: true}}}}}\nnetworking: {podCIDR: 10.64.0.0/16}\n",
			"controlPlane.advanced.cloudControllerManager.kubeOvn.loadBalancers.backendSubnet",
		},
		"the metrics server of the host": {
			goodVCluster + "integrations: {metricsServer: {enabled: true}}\n",
			"integrations.metricsServer.enabled",
		},
		"cert-manager of the host": {
			goodVCluster + "integrations: {certManager: {enabled: true}}\n",
			"integrations.certManager.enabled",
		},
		"external secrets of the host": {
			goodVCluster + "integrations: {externalSecrets: {enabled: true}}\n",
			"integrations.externalSecrets.enabled",
		},
		"Istio of the host": {
			goodVCluster + "integrations: {istio: {enabled: true}}\n",
			"integrations.istio.enabled",
		},
		"KubeVirt of the host": {
			goodVCluster + "integrations: {kubeVirt: {enabled: true}}\n",
			"integrations.kubeVirt.enabled",
		},
		"embedded CoreDNS": {
			goodVCluster + "controlPlane: {coredns: {embedded: true}}\n",
			"controlPlane.coredns.embedded",
		},
		"the host path mapper": {
			goodVCluster + "controlPlane: {hostPathMapper: {enabled: true}}\n",
			"controlPlane.hostPathMapper.enabled",
		},
		"multi-namespace mode": {
			goodVCluster + "sync: {toHost: {namespaces: {enabled: true}}}\n",
			"sync.toHost.namespaces.enabled",
		},
		"auto nodes of one name": {"privateNodes: {enabled: true, autoNodes: [{provider: a}, " +
			"{provider: a}]}\n", "privateNodes.autoNodes"},
		"a pod security context": {"privateNodes: {enabled: true, autoUpgrade: {podSecurityContext: " +
			"{runAsUser: root}}}\n", "privateNodes.autoUpgrade.podSecurityContext.runAsUser"},
		"a container's security context": {
			"privateNodes: {enabled: true, autoUpgrade: " +
				"{containerSecurityContext: {privileged: 1}}}\n",
			"privateNodes.autoUpgrade.containerSecurityContext.privileged",
		},
		"an isolated control plane": {goodVCluster +
			"experimental: {isolatedControlPlane: {enabled: true}}\n", "experimental.isolatedControlPlane.enabled"},
		"k3s": {
			goodVCluster + "controlPlane: {distro: {k3s: {enabled: true}}}\n",
			"controlPlane.distro.k3s.enabled",
		},
		"replicas on an embedded database": {
			goodVCluster +
				"controlPlane: {statefulSet: {highAvailability: {replicas: 2}}}\n",
			"controlPlane.statefulSet.highAvailability.replicas",
		},
		"a budget with both ends": {
			goodVCluster +
				"controlPlane: {advanced: {podDisruptionBudget: {minAvailable: 1, maxUnavailable: 1}}}\n",
			"controlPlane.advanced.podDisruptionBudget.maxUnavailable",
		},
		"a pod security standard": {
			goodVCluster + "policies: {podSecurityStandard: none}\n",
			"policies.podSecurityStandard",
		},
		"two default storage classes": {
			goodVCluster + "deploy: {csi: {kubeVirt: {enabled: true}}}\n",
			"deploy.csi.kubeVirt",
		},
		"keys of the volume snapshots": {goodVCluster +
			"deploy: {volumeSnapshotController: {enabled: true}}\n", "deploy.volumeSnapshotController.enabled"},
		"the VPN, which can never change again": {
			"privateNodes: {enabled: true, vpn: {enabled: true}}\n",
			"privateNodes.vpn.enabled",
		},

		// Settings that the original accepts and does not carry out.
		"other syncing": {
			goodVCluster + "sync: {fromHost: {nodes: {enabled: true}}}\n",
			"sync.fromHost.nodes.enabled",
		},
		"replicated services": {goodVCluster + "networking: {replicateServices: {fromHost: [{from: a, to: " +
			"b}]}}\n", "networking.replicateServices.fromHost"},
		"sleep": {goodVCluster + "sleepMode: {enabled: true}\n", "sleepMode.enabled"},
		"sleep, by its newer name": {
			goodVCluster + "sleep: {auto: {afterInactivity: 1h}}\n",
			"sleep.auto.afterInactivity",
		},
		"nodes that a platform creates": {"privateNodes: {enabled: true, autoNodes: [{provider: a, static: [{name: " +
			"b, quantity: 1}]}]}\n", "privateNodes.autoNodes"},
		"a profile of the platform": {
			"privateNodes: {enabled: true, defaultProfile: gold}\n",
			"privateNodes.defaultProfile",
		},
		"a resident daemon on each node": {
			"privateNodes: {enabled: true, daemon: {enabled: true}}\n",
			"privateNodes.daemon.enabled",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, fleet := range []string{goodFleet, hostedFleet} {
				var found config.Problems
				for _, problem := range problemsOf(t, test.vcluster, fleet) {
					if problem.Key == test.key {
						found = append(found, problem)
					}
				}
				assert.Assert(t, len(found) > 0, test.key)
				for _, problem := range found {
					assert.Assert(t, problem.Line > 0 || strings.HasPrefix(test.key, "networking."), problem.String())
					assert.Assert(t, problem.Suggestion != "", "no way out: %s", problem)
				}
			}
		})
	}
}

// The original rejects this pair, although its documentation recommends each half; here both have the value that holds
// anyway.
func TestTheSchedulerMayBeEnabledExplicitly(t *testing.T) {
	for _, text := range []string{
		"controlPlane: {advanced: {virtualScheduler: {enabled: true}}}\nsync: {fromHost: {nodes: {enabled: false}}}\n",
		"controlPlane: {distro: {k8s: {scheduler: {enabled: true}}}}\n",
	} {
		parse(t, goodVCluster+text, goodFleet)
	}
}
