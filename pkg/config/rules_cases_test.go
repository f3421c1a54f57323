package config_test

import (
	"strings"
	"testing"
)

const aManifest = `{apiVersion: v1, kind: ConfigMap, metadata: {name: coredns}}`

// kubeletOf returns a hosted cluster's vcluster.yaml with a configuration of kubelets.
func kubeletOf(config string) string {
	return strings.Replace(hostedVCluster, "true\n", "true\n  kubelet: {config: "+config+"}\n", 1)
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	const k8s = "controlPlane.distro.k8s."
	arguments := func(component, argument string) string {
		return strings.Replace(hostedVCluster, "v1.34.4}", "v1.34.4, "+component+": {extraArgs: ['"+argument+"']}}", 1)
	}
	metallb := func(pool string) string {
		return hostedVCluster + "deploy: {metallb: {enabled: true, ipAddressPool: {addresses: ['" + pool + "']}}}\n"
	}
	coreDNS := func(text string) string { return provisioned("coredns: " + text) }
	joinNode := func(text string) string { return "privateNodes: {enabled: true, joinNode: " + text + "}\n" }
	mirrors := func(text string) string { return joinNode("{containerd: {registry: {mirrors: " + text + "}}}") }
	args := func(text string) string { return joinNode("{nodeRegistration: {kubeletExtraArgs: [" + text + "]}}") }
	const (
		api                 = k8s + "apiServer.extraArgs[0]"
		manager             = k8s + "controllerManager.extraArgs[0]"
		pool                = "deploy.metallb.ipAddressPool.addresses[0]"
		config              = "privateNodes.kubelet.config."
		corefile, manifests = "controlPlane.coredns.overwriteConfig", "controlPlane.coredns.overwriteManifests"
		allArgs             = "privateNodes.joinNode.nodeRegistration.kubeletExtraArgs[0].name"
		mirror              = "privateNodes.joinNode.containerd.registry.mirrors"
	)
	hosted := hostedFleet + "machines: [{name: a, address: 192.0.2.31}, {name: b, address: 'fd00::5'}]\n"
	for name, test := range map[string]struct{ vcluster, fleet, key, want string }{
		"services": {
			arguments("apiServer", "--service-cluster-ip-range=10.9.0.0/16"), hosted, api,
			"networking.serviceCIDR",
		},
		"store": {
			arguments("apiServer", "--etcd-servers=http://x"), hosted, api,
			"controlPlane.backingStore",
		},
		"port": {arguments("apiServer", "--secure-port=1"), hosted, api, "controlPlane.proxy.port"},
		"anonymous": {
			strings.Replace(arguments("apiServer", "--anonymous-auth=false"), "v1.34.4", "v1.31.14", 1), hosted, api,
			"before Kubernetes 1.32",
		},
		"anonymous beside OpenID": {
			arguments("apiServer", "--anonymous-auth=false', '--oidc-issuer-url=https://a.example.com"), hosted, api,
			"write a file with sections jwt and anonymous",
		},
		"OpenID twice": {
			arguments("apiServer", "--oidc-client-id=a', '--authentication-config=/a"), hosted, api,
			"--oidc-client-id cannot stand beside --authentication-config",
		},
		"authorization twice": {
			arguments("apiServer", "--authorization-mode=Node,RBAC', '--authorization-config=/a"), hosted, api,
			"cannot stand beside --authorization-config",
		},
		"authorization": {arguments("apiServer", "--authorization-mode=AlwaysAllow"), hosted, api, "Node and RBAC"},
		"underscores":   {arguments("apiServer", "--secure_port=1"), hosted, api, "controlPlane.proxy.port"},
		"policy without a database": {
			provisioned("backingStore: {database: {external: {enabled: true, connector: a}}}") +
				"policies: {networkPolicy: {enabled: true}}\n", hosted, "policies.networkPolicy.controlPlane.egress",
			"cut the control plane off from it",
		},
		"policy without machines": {
			provisioned("advanced: {konnectivity: {enabled: false}}") + "policies: {networkPolicy: {enabled: true}}\n",
			hosted, "policies.networkPolicy.controlPlane.egress", "no rule that leads to the machines",
		},
		"misspelt rule": {
			hostedVCluster + "policies: {networkPolicy: {enabled: true, controlPlane: {egress: [{tos: []}]}}}\n",
			hosted, "policies.networkPolicy.controlPlane.egress[0].tos",
			"unknown key in a Kubernetes NetworkPolicyEgressRule",
		},
		"port of host-gw": {
			hostedVCluster, hosted + "flannel: {backend: host-gw, port: 4789}\n", "flannel.port", "has no port",
		},
		"interface": {
			hostedVCluster, hosted + "flannel: {interface: 'eth0 --public-ip=x'}\n", "flannel.interface",
			"not the name of a network interface",
		},
		"interface too long": {
			hostedVCluster, hosted + "flannel: {interface: an-interface-of-17}\n", "flannel.interface",
			"not the name of a network interface",
		},
		"encryption beside an argument": {
			arguments("apiServer", "--encryption-provider-config=/a"),
			hosted + "controlPlane: {encryption: {provider: secretbox}}\n", "controlPlane.encryption",
			"cannot stand beside --encryption-provider-config",
		},
		"audit beside an argument": {
			arguments("apiServer", "--audit-policy-file=/a"),
			hosted + "controlPlane: {audit: {policy: {rules: [{level: Metadata}]}}}\n", "controlPlane.audit",
			"cannot stand beside --audit-policy-file",
		},
		"encryption of nothing": {
			hostedVCluster, hosted + "controlPlane: {encryption: {provider: secretbox, resources: []}}\n",
			"controlPlane.encryption.resources", "is empty",
		},
		"encryption of all": {
			hostedVCluster, hosted + "controlPlane: {encryption: {resources: ['*.apps']}}\n",
			"controlPlane.encryption.resources[0]", "a wildcard is not possible",
		},
		"a resource twice": {
			hostedVCluster, hosted + "controlPlane: {encryption: {resources: [secrets, secrets]}}\n",
			"controlPlane.encryption.resources[1]", "twice",
		},
		"a key's name": {
			hostedVCluster, hosted + "controlPlane: {encryption: {keyName: 'a:b'}}\n",
			"controlPlane.encryption.keyName", "not the name of a key",
		},
		"an identity as recipient": {
			hostedVCluster, hosted + "controlPlane: {archives: {recipients: [AGE-SECRET-KEY-1A]}}\n",
			"controlPlane.archives.recipients[0]", "which is secret",
		},
		"a recipient": {
			hostedVCluster, hosted + "controlPlane: {archives: {recipients: [age1a]}}\n",
			"controlPlane.archives.recipients[0]", "no public key of age",
		},
		"names without resources": {
			hostedVCluster,
			hosted + "controlPlane: {audit: {policy: {rules: [{level: None, resources: [{resourceNames: [a]}]}]}}}\n",
			"controlPlane.audit.policy.rules[0].resources[0].resources", "is missing",
		},
		"an audit rule without a level": {
			hostedVCluster, hosted + "controlPlane: {audit: {policy: {rules: [{verbs: [get]}]}}}\n",
			"controlPlane.audit.policy.rules[0].level", "is missing",
		},
		"an audit rule of two kinds": {
			hostedVCluster, hosted + "controlPlane: {audit: {policy: {rules: [{level: None, nonResourceURLs: [/a], " +
				"namespaces: [a]}]}}}\n", "controlPlane.audit.policy.rules[0].nonResourceURLs", "two rules",
		},
		"a stage of audit": {
			hostedVCluster,
			hosted + "controlPlane: {audit: {policy: {rules: [{level: None, omitStages: [Received]}]}}}\n",
			"controlPlane.audit.policy.rules[0].omitStages[0]", "is no stage",
		},
		"an audit path": {
			hostedVCluster,
			hosted + "controlPlane: {audit: {policy: {rules: [{level: None, nonResourceURLs: [a]}]}}}\n",
			"controlPlane.audit.policy.rules[0].nonResourceURLs[0]", "is no path",
		},
		"a policy without rules": {
			hostedVCluster, hosted + "controlPlane: {audit: {policy: {omitManagedFields: true}}}\n",
			"controlPlane.audit.policy.rules", "nothing is logged",
		},
		"port of flannel": {hostedVCluster, hosted + "flannel: {port: 70000}\n", "flannel.port", "70000"},
		"flannel that is off": {
			hostedVCluster + "deploy: {cni: {flannel: {enabled: false}}}\n", hosted + "flannel: {port: 4789}\n",
			"flannel", "has no effect",
		},
		"no dashes": {arguments("apiServer", "v=4"), hosted, api, `"v=4" is no argument`},
		"empty":     {arguments("apiServer", ""), hosted, api, "is empty"},
		"pods": {
			arguments("controllerManager", "--cluster-cidr=10.1.0.0/16"), hosted, manager,
			"networking.podCIDR",
		},
		"controllers": {
			arguments("controllerManager", "--controllers=-nodeipam"), hosted, manager,
			"machines that cannot join",
		},
		"lease": {
			arguments("scheduler", "--leader-elect-lease-duration=9s"), hosted,
			k8s + "scheduler.extraArgs[0]", "highAvailability",
		},
		"kube-proxy": {
			hostedVCluster + "deploy: {kubeProxy: {extraArgs: [--config=/x]}}\n", hosted,
			"deploy.kubeProxy.extraArgs[0]", "deploy.kubeProxy.config",
		},
		"pool of machine":  {metallb("192.0.2.0/24"), hosted, pool, `192.0.2.31, which is the address of machine "a"`},
		"range of machine": {metallb("192.0.2.30-192.0.2.40"), hosted, pool, "192.0.2.31"},
		"pool of IPv6":     {metallb("fd00::/64"), hosted, pool, `machine "b"`},
		"pool of endpoint": {
			strings.Replace(metallb("198.51.100.0/28"), "controlPlane:\n",
				"controlPlane:\n  endpoint: 198.51.100.3:443\n", 1),
			hosted, pool, "controlPlane.endpoint",
		},
		"a word as manifests": {
			coreDNS("{overwriteManifests: hello}"), hosted, manifests,
			"is no object of Kubernetes",
		},
		"a list as manifests": {
			coreDNS(`{overwriteManifests: "- a"}`), hosted, manifests,
			"is no object of Kubernetes",
		},
		"second manifest": {
			coreDNS(`{overwriteManifests: "` + aManifest + `\n---\na: b"}`), hosted, manifests,
			"document 2",
		},
		"Corefile on 53":        {coreDNS(`{overwriteConfig: ".:53 { errors }"}`), hosted, corefile, "leads to 1053"},
		"Corefile without port": {coreDNS(`{overwriteConfig: ". {\n errors\n}"}`), hosted, corefile, "on port 53"},
		"second server on 53": {
			coreDNS(`{overwriteConfig: ".:1053 {\n}\nexample.com {\n}"}`), hosted, corefile,
			`"example.com" on port 53`,
		},
		"no Corefile": {
			coreDNS(`{overwriteConfig: "not a corefile {"}`), hosted, corefile,
			"braces do not match",
		},
		"negative pods": {kubeletOf("{maxPods: -5}"), hosted, config + "maxPods", "-5 is out of range"},
		"percent": {
			kubeletOf("{imageGCHighThresholdPercent: 120}"), hosted,
			config + "imageGCHighThresholdPercent", "use 0 to 100",
		},
		"thresholds": {
			kubeletOf("{imageGCHighThresholdPercent: 70, imageGCLowThresholdPercent: 80}"),
			hosted, config + "imageGCLowThresholdPercent", "not less than",
		},
		"misspelt at 1.35": {
			strings.Replace(kubeletOf("{maxPosd: 200}"), "v1.34.4", "v1.35.8", 1), hosted,
			config + "maxPosd", `"maxPods"`,
		},
		"misspelt at 1.37": {
			strings.Replace(kubeletOf("{maxPosd: 200}"), "v1.34.4", "v1.37.2", 1), hosted,
			config + "maxPosd", `"maxPods"`,
		},
		"of later kubelets": {
			kubeletOf("{defaultPodSysctls: {}}"), hosted, config + "defaultPodSysctls",
			"from Kubernetes 1.37 on",
		},
		"class E": {
			networked("{podCIDR: 240.0.0.0/16}"), hosted, "networking.podCIDR",
			"not a network that hosts have addresses in",
		},
		"services in class E": {
			networked("{serviceCIDR: 250.1.0.0/16}"), hosted, "networking.serviceCIDR",
			"not a network that hosts",
		},
		"capitals": {
			mirrors("{Docker.IO: {server: 'https://a.example.com'}}"), goodFleet,
			mirror + `["Docker.IO"]`, `write "docker.io"`,
		},
		"path of the API": {
			mirrors("{docker.io: {server: 'https://a.example.com/v2'}}"), goodFleet,
			mirror + `["docker.io"].server`, "overridePath: true",
		},
		"path of a project": {
			mirrors("{docker.io: {hosts: [{server: 'https://a.example.com/v2/hub'}]}}"),
			goodFleet, mirror + `["docker.io"].hosts[0].server`, "remove /v2",
		},
		"one address": {
			args("{name: node-ip, value: 192.0.2.1}"), goodFleet, allArgs,
			"all machines one address",
		},
		"one identity": {args("{name: provider-id, value: a}"), goodFleet, allArgs, "all nodes one identity"},
		"pause of two tags": {
			joinNode("{containerd: {pauseImage: 'registry.k8s.io/pause:3.10:x'}}"), goodFleet,
			"privateNodes.joinNode.containerd.pauseImage", "not the name of an image",
		},
		"pause without tag": {
			joinNode("{containerd: {pauseImage: 'registry.k8s.io/pause:'}}"), goodFleet,
			"privateNodes.joinNode.containerd.pauseImage", "not the name of an image",
		},
		"kubelet's label": {
			goodVCluster, machine("{name: a, address: a, labels: {kubernetes.io/hostname: x}}"),
			`machines[0].labels["kubernetes.io/hostname"]`, "kubelet's own label",
		},
		"kubelet's older label": {
			goodVCluster, machine("{name: a, address: a, labels: {beta.kubernetes.io/os: x}}"),
			`machines[0].labels["beta.kubernetes.io/os"]`, "kubelet's own label",
		},
		"machine all": {
			goodVCluster, machine("{name: all, address: a}"), "machines[0].name",
			"selects all machines",
		},
		"milli disk": {
			goodVCluster, goodFleet + "join: {minDisk: 500m}\n", "join.minDisk",
			`did you mean "500Mi"?`,
		},
		"bare memory": {
			goodVCluster, goodFleet + "join: {minMemory: '900'}\n", "join.minMemory",
			`did you mean "900Mi"?`,
		},
		"kilo": {
			goodVCluster, goodFleet + "join: {minMemory: 900k}\n", "join.minMemory",
			"less than 1Mi",
		},
		"a nanosecond": {
			goodVCluster, goodFleet + "limits: {machineTimeout: 1ns}\n", "limits.machineTimeout",
			"1ns is less than a second",
		},
		"milliseconds": {
			goodVCluster, goodFleet + "ssh: {keepAlive: 10ms}\n", "ssh.keepAlive",
			"10ms is less than a second",
		},
		"microseconds": {
			goodVCluster, goodFleet + "upgrade: {pause: 5us}\n", "upgrade.pause",
			"less than a second",
		},
		"octal": {
			goodVCluster, goodFleet + "ssh: {port: 022}\n", "ssh.port",
			`"022" is not written as a decimal number`,
		},
		"underscore": {goodVCluster, goodFleet + "ssh: {port: 2_2}\n", "ssh.port", `"2_2" is not written`},
		"zero in front": {
			goodVCluster, goodFleet + "limits: {concurrency: 010}\n", "limits.concurrency",
			`"010" is not written`,
		},
	} {
		t.Run(name, func(t *testing.T) { only(t, problemsOf(t, test.vcluster, test.fleet), test.key, test.want) })
	}
}

func TestWhatTheOriginalAcceptsIsAccepted(t *testing.T) {
	for name, vcluster := range map[string]string{
		"a wildcard":    provisioned("proxy: {extraSANs: ['*.example.com']}"),
		"a chosen port": provisioned("service: {httpsNodePort: 0, spec: {type: NodePort}}"),
		"a tag of etcd": provisioned("backingStore: {etcd: {deploy: {enabled: true, statefulSet: {image: {tag: " +
			"3.6.10-0}}}}}"),
		"an eviction": provisioned("advanced: {podDisruptionBudget: {enabled: true, unhealthyPodEvictionPolicy: " +
			"AlwaysAllow}}"),
		"the directive":  "%YAML 1.2\n---\n" + hostedVCluster,
		"after comments": "# a\n\n%YAML 1.2\n---\n" + hostedVCluster,
		"the family": strings.Replace(hostedVCluster, "true\n",
			"true\n  joinNode: {nodeRegistration: {kubeletExtraArgs: [{name: node-ip, value: '::'}]}}\n", 1),
		"whole path": strings.Replace(hostedVCluster, "true\n",
			"true\n  joinNode: {containerd: {registry: {mirrors: {docker.io: {server: 'https://a/v2/hub', "+
				"overridePath: true}}}}}\n", 1),
		"more servers": provisioned(`coredns: {overwriteConfig: "(common) {\n errors\n}\nexample.com:1053, ` +
			`.:1053 {\n import common\n}\n.:5353 { whoami }"}`),
		"own manifests": provisioned(`coredns: {overwriteManifests: "` + aManifest + `\n---\n"}`),
		"an argument": strings.Replace(hostedVCluster, "v1.34.4}",
			"v1.34.4, apiServer: {extraArgs: [--v=4, '--authorization-mode=Node,RBAC,Webhook', -v=3]}}", 1),
		"no anonymous requests": strings.Replace(hostedVCluster, "v1.34.4}",
			"v1.34.4, apiServer: {extraArgs: [--anonymous-auth=false]}}", 1),
		"files of logins": strings.Replace(hostedVCluster, "v1.34.4}",
			"v1.34.4, apiServer: {extraArgs: [--anonymous-auth=false, --authentication-config=/a, "+
				"--authorization-config=/b]}}", 1),
		"its command": strings.Replace(hostedVCluster, "v1.34.4}",
			"v1.34.4, apiServer: {command: [/own], extraArgs: [serve, --secure-port=1]}}", 1),
		"fewer controls": strings.Replace(hostedVCluster, "v1.34.4}",
			"v1.34.4, controllerManager: {extraArgs: ['--controllers=*,bootstrapsigner,tokencleaner,-cronjob']}}", 1),
		"kubelet at 1.37": strings.Replace(kubeletOf("{defaultPodSysctls: {}, maxPods: 200, nodeStatusMaxImages: -1}"),
			"v1.34.4",
			"v1.37.2", 1),
	} {
		t.Run(name, func(t *testing.T) { parse(t, vcluster, hostedFleet) })
	}
	etcd := parse(t, provisioned("backingStore: {etcd: {deploy: {statefulSet: {image: {tag: 3.6.10-0}}}}}"),
		hostedFleet).VCluster.ControlPlane.BackingStore.Etcd.Deploy.StatefulSet.Image
	if got := etcd.Reference(); got != "registry.k8s.io/etcd:3.6.10-0" {
		t.Fatal(got)
	}
	only(t, problemsOf(t, "%YAML 1.2\n---\nprivateNodes: {enabled: true}\nsink: {}\n", goodFleet), "sink",
		"vcluster.yaml:4:1")
	only(t, problemsOf(t, provisioned("proxy: {extraSANs: ['*']}"), hostedFleet), "controlPlane.proxy.extraSANs[0]",
		"neither")
}
