package config_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

// provisioned returns the vcluster.yaml of a hosted cluster with more keys in controlPlane.
func provisioned(controlPlane string) string { return hostedVCluster + "  " + controlPlane + "\n" }

// networked returns the vcluster.yaml of a hosted cluster with other networks.
func networked(text string) string { return hostedVCluster + "networking: " + text + "\n" }

func TestAHostedControlPlaneIsCheckedValueByValue(t *testing.T) {
	const (
		set   = "controlPlane.statefulSet."
		store = "controlPlane.backingStore."
		etcd  = store + "etcd.deploy.statefulSet."
	)
	external := func(text string) string { return provisioned("backingStore: {database: {external: " + text + "}}") }
	deployed := func(text string) string {
		return provisioned("backingStore: {etcd: {deploy: {enabled: true, statefulSet: " + text + "}}}")
	}
	for name, test := range map[string]struct{ vcluster, key, want string }{
		"four replicas": {provisioned("statefulSet: {highAvailability: {replicas: 4}}\n  backingStore: {etcd: " +
			"{deploy: {enabled: true}}}"), set + "highAvailability.replicas", "4 is too many; use 1 to 3"},
		"two members": {
			deployed("{highAvailability: {replicas: 2}}"), etcd + "highAvailability.replicas",
			"two are no safer than one",
		},
		"five members": {
			deployed("{highAvailability: {replicas: 5}}"), etcd + "highAvailability.replicas",
			"use 1 or 3",
		},
		"no members":    {deployed("{enabled: false}"), etcd + "enabled", "cannot be switched off"},
		"half an image": {deployed("{image: {repository: etcd}}"), etcd + "image.tag", "is missing"},
		"members in order": {
			deployed("{highAvailability: {replicas: 3}, scheduling: {podManagementPolicy: " +
				"OrderedReady}}"), etcd + "scheduling.podManagementPolicy",
			"the first is not ready before it has found the second; use Parallel",
		},
		"a headless Service": {
			provisioned("service: {spec: {clusterIP: None}}"),
			"controlPlane.service.spec.clusterIP", "gives the Service no address",
		},
		"lease": {
			provisioned("statefulSet: {highAvailability: {leaseDuration: 40}}"),
			set + "highAvailability.leaseDuration", "not more than renewDeadline",
		},
		"renewal": {
			provisioned("statefulSet: {highAvailability: {retryPeriod: 35}}"),
			set + "highAvailability.renewDeadline", "1.2 times retryPeriod",
		},
		"no data source": {
			external("{enabled: true}"), store + "database.external.connector",
			"name a Secret beside the ConfigMap whose key dataSource",
		},
		"two data sources": {
			external("{enabled: true, connector: db, dataSource: 'postgres://u:hunter2@db/x'}"),
			store + "database.external.dataSource", "cannot stand beside connector",
		},
		"another database": {
			external("{enabled: true, dataSource: 'mssql://u:hunter2@db/x'}"),
			store + "database.external.dataSource", "does not begin with postgres:// or mysql://",
		},
		"a database forgotten": {
			external("{connector: db}"), store + "database.external",
			"has no effect without enabled: true, and the state would be in SQLite",
		},
		"connector": {
			external("{enabled: true, connector: a/b}"), store + "database.external.connector",
			"name that Kubernetes allows",
		},
		"volume once": {provisioned("statefulSet: {persistence: {volumeClaim: {accessModes: " +
			"[ReadWriteOncePod]}}}"), set + "persistence.volumeClaim.accessModes[0]", "use ReadWriteOnce"},
		"volume of many hosts": {
			provisioned("statefulSet: {persistence: {volumeClaim: {accessModes: [ReadWriteMany]}}}"),
			set + "persistence.volumeClaim.accessModes[0]", "of network file systems",
		},
		"members without volumes": {
			deployed("{highAvailability: {replicas: 3}, persistence: {volumeClaim: {enabled: false}}}"),
			etcd + "persistence.volumeClaim.enabled", "one member is enough",
		},
		"a member without a volume": {
			deployed("{persistence: {volumeClaim: {enabled: false}}}"), etcd + "persistence.volumeClaim.enabled",
			"set controlPlane.ephemeral: true in argosy.yaml",
		},
		"bind address": {
			provisioned("proxy: {bindAddress: 127.0.0.1}"), "controlPlane.proxy.bindAddress",
			"no address at which machines can reach",
		},
		"bind name": {
			provisioned("proxy: {bindAddress: api.example.com}"), "controlPlane.proxy.bindAddress",
			"no address at which machines can reach",
		},
		"port of konnectivity": {
			provisioned("proxy: {port: 8132}"), "controlPlane.proxy.port",
			"the port of something else",
		},
		"port of root": {
			provisioned("proxy: {port: 443}"), "controlPlane.proxy.port",
			"only be listened on by root",
		},
		"node port of nothing": {
			provisioned("service: {httpsNodePort: 30443}"), "controlPlane.service.httpsNodePort",
			"set controlPlane.service.spec.type: NodePort",
		},
		"kubelet setting": {
			strings.Replace(hostedVCluster, "true\n", "true\n  kubelet: {config: {maxPod: 20}}\n",
				1), "privateNodes.kubelet.config.maxPod",
			`unknown key in a Kubernetes KubeletConfiguration; did you mean "maxPods"?`,
		},
		"kubelet value": {
			strings.Replace(hostedVCluster, "true\n",
				"true\n  kubelet: {config: {maxPods: many}}\n", 1), "privateNodes.kubelet.config.maxPods",
			"must be a whole number, not text",
		},
		"kube-proxy setting": {
			hostedVCluster + "deploy: {kubeProxy: {config: {mod: ipvs}}}\n",
			"deploy.kubeProxy.config.mod", `did you mean "mode"?`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			problems := problemsOf(t, test.vcluster, hostedFleet)
			only(t, problems, test.key, test.want)
			assert.Assert(t, !strings.Contains(problems.Error(), "hunter2"))
		})
	}
}

func TestValidSettingsOfAHostedControlPlaneAreAccepted(t *testing.T) {
	for name, vcluster := range map[string]string{
		"three replicas, three members": provisioned("statefulSet: {highAvailability: {replicas: 3}}\n  " +
			"backingStore: {etcd: {deploy: {enabled: true, statefulSet: {highAvailability: {replicas: 3}}}}}"),
		"one member, in order": provisioned("backingStore: {etcd: {deploy: {enabled: true, statefulSet: " +
			"{scheduling: {podManagementPolicy: OrderedReady}}}}}"),
		"an address of one's own": provisioned("service: {spec: {clusterIP: 10.3.0.10}}"),
		"two replicas, one member": provisioned("statefulSet: {highAvailability: {replicas: 2}}\n  " +
			"backingStore: {etcd: {deploy: {enabled: true}}}"),
		"three replicas, a database": provisioned("statefulSet: {highAvailability: {replicas: 3}}\n  " +
			"backingStore: {database: {external: {enabled: true, connector: db}}}"),
		"a data source in clear": provisioned("backingStore: {database: {external: {enabled: true, " +
			"dataSource: 'mysql://u:p@tcp(db:3306)/x'}}}"),
		"a load balancer": provisioned("service: {spec: {type: LoadBalancer, loadBalancerIP: " +
			"192.0.2.1}, annotations: {a.example.com/b: c}}"),
		"a node port":          provisioned("service: {httpsNodePort: 30443, spec: {type: NodePort}}"),
		"cloud controller on":  provisioned("advanced: {cloudControllerManager: {enabled: true}}"),
		"cloud controller off": provisioned("advanced: {cloudControllerManager: {enabled: false}}"),
		"konnectivity off":     provisioned("advanced: {konnectivity: {enabled: false}}"),
		"an older port":        provisioned("proxy: {port: 8443}"),
		"state of a moment":    provisioned("statefulSet: {persistence: {volumeClaim: {enabled: false}}}"),
		"a setting newer than us": strings.Replace(strings.Replace(hostedVCluster, "v1.34.4", "v1.36.1", 1), "true\n",
			"true\n  kubelet: {config: {memoryReservationPolicy: None}}\n", 1),
	} {
		t.Run(name, func(t *testing.T) { parse(t, vcluster, hostedFleet) })
	}
}

func TestOneMemberWithoutAVolumeIsForTryingOut(t *testing.T) {
	const fleet = hostedFleet + "controlPlane: {ephemeral: true}\n"
	deployed := func(replicas string) string {
		return provisioned("backingStore: {etcd: {deploy: {enabled: true, statefulSet: {highAvailability: {replicas: " +
			replicas + "}, persistence: {volumeClaim: {enabled: false}}}}}}")
	}
	parse(t, deployed("1"), fleet)
	only(t, problemsOf(t, deployed("3"), fleet),
		"controlPlane.backingStore.etcd.deploy.statefulSet.persistence.volumeClaim.enabled", "has lost its vote")
	parse(t, provisioned("backingStore: {etcd: {deploy: {enabled: true, statefulSet: {persistence: {volumeClaim: "+
		"{accessModes: [ReadWriteMany]}}}}}}"), hostedFleet)
}

func TestThePortsAndVolumesOfAHostedClusterHaveDefaults(t *testing.T) {
	c := parse(t, hostedVCluster, hostedFleet)
	assert.Equal(t, c.VCluster.ControlPlane.Proxy.Port, 6443)
	claim := c.VCluster.ControlPlane.StatefulSet.Persistence.VolumeClaim
	assert.DeepEqual(t, claim, config.VolumeClaim{
		Enabled: "auto", Size: "5Gi", RetentionPolicy: "Retain",
		AccessModes: []string{"ReadWriteOnce"},
	})
	for enabled, want := range map[any]bool{true: true, false: false, "auto": true, nil: true} {
		assert.Equal(t, config.VolumeClaim{Enabled: enabled}.On(), want, "%v", enabled)
	}
}

func TestNetworksOfAHostedClusterAreWithinKubernetesBounds(t *testing.T) {
	machines := func(n int) string {
		text := hostedFleet + "machines:\n"
		for i := range n {
			text += fmt.Sprintf("- {name: m%d, address: m%d.example.com}\n", i, i)
		}
		return text
	}
	for name, test := range map[string]struct{ vcluster, fleet, key, want string }{
		"overlap": {
			networked("{podCIDR: 10.64.0.0/16, serviceCIDR: 10.64.128.0/20}"), hostedFleet,
			"networking.serviceCIDR", "the pods' 10.64.0.0/16 and the services' 10.64.128.0/20 overlap",
		},
		"huge services": {
			networked("{serviceCIDR: 10.0.0.0/9}"), hostedFleet, "networking.serviceCIDR",
			"larger than kube-apiserver accepts; use /12",
		},
		"huge IPv6 services": {
			networked("{podCIDR: 'fd00::/56', serviceCIDR: 'fd01::/64'}"), hostedFleet,
			"networking.serviceCIDR", "use /108",
		},
		"tiny services": {
			networked("{serviceCIDR: 10.96.0.0/29}"), hostedFleet, "networking.serviceCIDR",
			"no room for DNS, whose address is the tenth; use /28",
		},
		"tiny pods": {
			networked("{podCIDR: 10.64.0.0/25}"), hostedFleet, "networking.podCIDR",
			"no room for one node, which gets a /24",
		},
		"huge IPv6 pods": {
			networked("{podCIDR: 'fd00::/40', serviceCIDR: 'fd01::/112'}"), hostedFleet,
			"networking.podCIDR", "use /48 or a smaller network",
		},
		"more machines": {
			networked("{podCIDR: 10.64.0.0/23}"), machines(3), "networking.podCIDR",
			"has room for 2 nodes, each with a /24, and argosy.yaml lists 3 machines",
		},
		"two families": {
			networked("{podCIDR: 'fd00::/56'}"), hostedFleet, "networking.podCIDR",
			"are of two families",
		},
		"dual-stack pods": {
			networked("{podCIDR: '10.64.0.0/16,fd00::/56'}"), hostedFleet, "networking.podCIDR",
			"is dual-stack, which this version does not provision",
		},
		"dual-stack services": {
			networked("{serviceCIDR: '10.96.0.0/16,fd00::/112'}"), hostedFleet,
			"networking.serviceCIDR", "is dual-stack",
		},
		"one family twice": {
			networked("{serviceCIDR: '10.96.0.0/16,10.97.0.0/16'}"), hostedFleet,
			"networking.serviceCIDR", "two networks of one family",
		},
		"loopback": {
			networked("{podCIDR: 127.0.0.0/16}"), hostedFleet, "networking.podCIDR",
			"not a network that hosts have addresses in",
		},
		"a domain": {
			networked("{advanced: {clusterDomain: Cluster.Local.}}"), hostedFleet,
			"networking.advanced.clusterDomain", `"Cluster.Local." is not a DNS name; write "cluster.local"`,
		},
		"no domain": {
			networked("{advanced: {clusterDomain: 'a b'}}"), hostedFleet,
			"networking.advanced.clusterDomain", "is not a DNS name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, problemsOf(t, test.vcluster, test.fleet), test.key, test.want)
		})
	}
	for name, vcluster := range map[string]string{
		"a node network of its own": strings.Replace(networked("{podCIDR: 10.64.0.0/25}"), "{version: v1.34.4}",
			"{version: v1.34.4, controllerManager: {extraArgs: [--node-cidr-mask-size=27]}}", 1),
		"the smallest": networked("{podCIDR: 10.64.0.0/24, serviceCIDR: 10.96.0.0/28}"),
		"the largest":  networked("{podCIDR: 10.0.0.0/8, serviceCIDR: 172.16.0.0/12}"),
	} {
		t.Run(name, func(t *testing.T) { parse(t, vcluster, machines(1)) })
	}
	parse(t, goodVCluster+"networking: {podCIDR: '10.64.0.0/16,fd00::/56'}\n", goodFleet)
}

func TestAddressesInTheClustersNetworksAreRefused(t *testing.T) {
	const head = hostedFleet + "machines:\n- {name: alpha, address: "
	for name, test := range map[string]struct{ vcluster, fleet, key, want string }{
		"a machine": {
			hostedVCluster, head + "10.244.7.7}\n", "machines[0].address",
			"argosy.yaml:4:26: machines[0].address: lies in networking.podCIDR, which is 10.244.0.0/16: nodes would " +
				"take it for the cluster's own; choose another networking.podCIDR in vcluster.yaml",
		},
		"a machine, mapped": {
			hostedVCluster, head + "'::ffff:10.244.7.7'}\n", "machines[0].address",
			"lies in networking.podCIDR",
		},
		"a machine of services": {
			hostedVCluster, head + "10.100.0.1}\n", "machines[0].address",
			"lies in networking.serviceCIDR, which is 10.96.0.0/12",
		},
		"a bastion": {
			hostedVCluster, head + "a, ssh: {bastions: [{address: 10.96.0.1}]}}\n",
			"machines[0].ssh.bastions[0].address", "lies in networking.serviceCIDR",
		},
		"the fleet's bastion": {
			hostedVCluster, hostedFleet + "ssh: {bastions: [{address: 10.96.0.1}]}\n",
			"ssh.bastions[0].address", "lies in networking.serviceCIDR",
		},
		"the endpoint": {
			provisioned("endpoint: 10.244.0.1:6443"), hostedFleet, "controlPlane.endpoint",
			"lies in networking.podCIDR",
		},
		"a pool": {
			hostedVCluster + "deploy: {metallb: {ipAddressPool: {addresses: [10.244.0.0/28]}}}\n",
			hostedFleet, "deploy.metallb.ipAddressPool.addresses[0]", "lies in networking.podCIDR",
		},
		"the end of a range": {
			hostedVCluster + "deploy: {metallb: {ipAddressPool: {addresses: " +
				"[10.95.255.250-10.96.0.5]}}}\n", hostedFleet, "deploy.metallb.ipAddressPool.addresses[0]",
			"lies in networking.serviceCIDR",
		},
		"an existing cluster": {
			goodVCluster + "networking: {podCIDR: 10.0.0.0/16}\n", goodFleet,
			"machines[0].address", "lies in networking.podCIDR",
		},
		"an existing endpoint": {
			goodVCluster + "networking: {podCIDR: 10.5.0.0/16}\n",
			fleetHead + "  endpoint: 10.5.0.1:6443\nmachines: [{name: a, address: b}]\n", "cluster.endpoint",
			"lies in networking.podCIDR",
		},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, problemsOf(t, test.vcluster, test.fleet), test.key, test.want)
		})
	}
	// The networks of an existing cluster are not known unless they are written.
	parse(t, goodVCluster, machine("{name: a, address: 10.244.7.7}"))
}

func TestTheConfigurationTypesAreThoseOfTheKnownVersion(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	assert.NilError(t, err)
	for _, module := range []string{"kubelet", "kube-proxy"} {
		version := regexp.MustCompile(`k8s\.io/` + module + ` v0\.(\d+)\.`).FindStringSubmatch(string(text))
		assert.Assert(t, version != nil, module)
		minor, err := strconv.Atoi(version[1])
		assert.NilError(t, err)
		at := func(minor int) string {
			return strings.Replace(hostedVCluster, "v1.34.4", fmt.Sprintf("v1.%d.0", minor), 1) +
				"deploy: {kubeProxy: {config: {later: 1}}}\n"
		}
		only(t, problemsOf(t, at(minor), hostedFleet), "deploy.kubeProxy.config.later", "unknown key")
		only(t, problemsOf(t, at(minor+1), hostedFleet), "deploy.kubeProxy.config.later", "unknown key")
	}
}
