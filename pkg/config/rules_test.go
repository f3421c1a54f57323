package config_test

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"gotest.tools/v3/assert"
)

func machine(text string) string { return fleetHead + "machines:\n- " + text + "\n" }

// publicKey returns the line of a .pub file.
func publicKey(t *testing.T) string {
	t.Helper()
	public, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	assert.NilError(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func TestTheFleetIsCheckedValueByValue(t *testing.T) {
	key := publicKey(t)
	for name, test := range map[string]struct{ fleet, key, want string }{
		"no machines": {fleetHead, "machines", "list at least one machine"},
		"machines of null": {
			fleetHead + "machines:\n", "machines",
			"argosy.yaml:5:1: machines: is missing or empty",
		},
		"control plane twice": {
			goodFleet + "controlPlane: {timeout: 5m}\n", "controlPlane",
			"a cluster whose control plane exists",
		},
		"no apiVersion": {
			strings.TrimPrefix(goodFleet, "apiVersion: argosy.dev/v1alpha1\n"), "apiVersion",
			"write apiVersion: argosy.dev/v1alpha1",
		},
		"no kind":              {strings.Replace(goodFleet, "kind: Fleet\n", "", 1), "kind", "write kind: Fleet"},
		"no name":              {machine("{address: a}"), "machines[0].name", "is missing"},
		"no address":           {machine("{name: a}"), "machines[0].address", "is missing"},
		"name with a dot":      {machine("{name: a.b, address: a}"), "machines[0].name", "not a DNS-1123 label"},
		"name with a command":  {machine("{name: '$(reboot)', address: a}"), "machines[0].name", `"$(reboot)"`},
		"name with a backtick": {machine("{name: '`id`', address: a}"), "machines[0].name", "not a DNS-1123 label"},
		"name with a newline":  {machine(`{name: "a\nb", address: a}`), "machines[0].name", `"a\nb"`},
		"name with a quote":    {machine(`{name: "a'b", address: a}`), "machines[0].name", "not a DNS-1123 label"},
		"duplicate name": {
			machine("{name: a, address: a}\n- {name: a, address: b}"), "machines[1].name",
			"is the name of machines[0] too",
		},
		"duplicate node name": {
			machine("{name: a, address: a}\n- {name: b, address: b, nodeName: a}"),
			"machines[1].nodeName", "is the node name of machines[0] too",
		},
		"long node name": {
			machine("{name: a, address: a, nodeName: " + strings.Repeat("a.", 40) + "a}"),
			"machines[0].nodeName", "longer than 63",
		},
		"node name with a space": {
			machine("{name: a, address: a, nodeName: 'a b'}"), "machines[0].nodeName",
			"name that Kubernetes allows",
		},
		"duplicate address": {
			machine("{name: a, address: 10.0.0.1}\n- {name: b, address: 10.0.0.1}"),
			"machines[1].address", `machine "a"`,
		},
		"duplicate IPv6": {
			machine("{name: a, address: 'fd00::1'}\n- {name: b, address: 'fd00:0:0::0:1'}"),
			"machines[1].address", "fd00::1 is the address",
		},
		"duplicate mapped IPv4": {
			machine("{name: a, address: 10.0.0.1}\n- {name: b, address: '::ffff:10.0.0.1'}"),
			"machines[1].address", "10.0.0.1 is the address",
		},
		"duplicate host name": {machine("{name: a, address: Host.example.com}\n- {name: b, address: " +
			"host.example.com.}"), "machines[1].address", "host.example.com is the address"},
		"same port written": {
			machine("{name: a, address: x}\n- {name: b, address: x, ssh: {port: 22}}"),
			"machines[1].address", "is the address",
		},
		"address with a port": {
			machine("{name: a, address: '10.0.0.1:22'}"), "machines[0].address",
			`put "22" into ssh.port`,
		},
		"address with a command": {
			machine("{name: a, address: 'x;reboot'}"), "machines[0].address",
			"neither a host name nor an IP address",
		},
		"option as address": {
			machine("{name: a, address: '-oProxyCommand=x'}"), "machines[0].address",
			"neither",
		},
		"the unspecified address": {machine("{name: a, address: 0.0.0.0}"), "machines[0].address", "single host"},
		"half an address":         {machine("{name: a, address: '10.0.1'}"), "machines[0].address", "neither"},
		"label without name": {
			machine("{name: a, address: a, labels: {'': x}}"), `machines[0].labels[""]`,
			"not a name for a label",
		},
		"label with a command": {
			machine("{name: a, address: a, labels: {x: '$(id)'}}"), "machines[0].labels.x",
			"not a value for a label",
		},
		"boolean label": {
			machine("{name: a, address: a, labels: {gpu: true}}"), "machines[0].labels.gpu",
			"write it in quotes",
		},
		"taint without effect": {
			machine("{name: a, address: a, taints: [{key: a}]}"),
			"machines[0].taints[0].effect", "use NoSchedule",
		},
		"user with a command":    {goodFleet + "ssh: {user: 'a$(id)'}\n", "ssh.user", "not a user name"},
		"user that is an option": {goodFleet + "ssh: {user: -oX}\n", "ssh.user", "not a user name"},
		"port of zero": {
			machine("{name: a, address: a, ssh: {port: 0}}"), "machines[0].ssh.port",
			"0 is not a port",
		},
		"bastion without address": {
			goodFleet + "ssh: {bastions: [{port: 22}]}\n", "ssh.bastions[0].address",
			"is missing",
		},
		"private host key": {
			goodFleet + "ssh: {hostKeys: ['-----BEGIN OPENSSH PRIVATE KEY-----']}\n",
			"ssh.hostKeys[0]", "is a private key",
		},
		"known_hosts line": {
			goodFleet + "ssh: {hostKeys: ['10.0.0.1 " + key + "']}\n", "ssh.hostKeys[0]",
			"only type and key",
		},
		"two keys in one": {
			goodFleet + "ssh: {hostCAs: [\"" + key + "\\n" + key + "\"]}\n", "ssh.hostCAs[0]",
			"one key an item",
		},
		"secret with a slash": {
			goodFleet + "ssh: {secret: other/secret}\n", "ssh.secret",
			"name that Kubernetes allows",
		},
		"negative duration": {
			goodFleet + "limits: {retryBudget: -1s}\n", "limits.retryBudget",
			"more than 0",
		},
		"drain without time": {goodFleet + "drain: {timeout: 0s}\n", "drain.timeout", "more than 0"},
		"grace in milliseconds": {
			goodFleet + "drain: {gracePeriod: 300000}\n", "drain.gracePeriod",
			"not a number of seconds up to a day",
		},
		"grace below none": {
			goodFleet + "drain: {gracePeriod: -2}\n", "drain.gracePeriod",
			"write -1 for each pod's own",
		},
		"negative amount": {goodFleet + "join: {minDisk: -1Gi}\n", "join.minDisk", "not an amount"},
		"endless amount": {
			goodFleet + "join: {minDisk: '" + strings.Repeat("9", 100) + "'}\n", "join.minDisk",
			"not an amount",
		},
		"certificate": {
			goodFleet + "bundles: {caCert: hello}\n", "bundles.caCert",
			"not a PEM certificate",
		},
		"digest of a path": {
			goodFleet + "bundles: {sha256: {../x: " + strings.Repeat("a", 64) + "}}\n",
			`bundles.sha256["../x"]`, "not a file name",
		},
		"repository with a query": {
			goodFleet + "bundles: {repository: 'https://a/b?c=d'}\n", "bundles.repository",
			"a query",
		},
		"repository with a space": {
			goodFleet + "bundles: {repository: 'https://a/b c'}\n", "bundles.repository",
			"do not belong into a URL",
		},
		"endpoint with a scheme": {
			fleetHead + "  endpoint: https://a:6443\nmachines: [{name: a, address: b}]\n",
			"cluster.endpoint", "not host:port",
		},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, problemsOf(t, goodVCluster, test.fleet), test.key, test.want)
		})
	}
}

func TestUnusualButValidDocumentsAreAccepted(t *testing.T) {
	key := publicKey(t)
	for name, fleet := range map[string]string{
		"one address, two ports": machine("{name: a, address: x}\n- {name: b, address: x, ssh: {port: 2222}}"),
		"IPv6":                   machine("{name: a, address: 'fd00::1'}"),
		"IPv6 with a zone":       machine("{name: a, address: 'fe80::1%eth0'}"),
		"upper case host name":   machine("{name: a, address: GPU-1.Example.com}"),
		"node name with dots":    machine("{name: a, address: a, nodeName: a.example.com}"),
		"labels of Kubernetes": machine("{name: a, address: a, labels: {node-role.kubernetes.io/gpu: '', " +
			"topology.kubernetes.io/zone: a}}"),
		"two effects of one key": machine("{name: a, address: a, taints: [{key: a, effect: NoSchedule}, {key: a, " +
			"effect: NoExecute}]}"),
		"user of a directory":     goodFleet + "ssh: {user: first.last}\n",
		"key with a comment":      goodFleet + "ssh: {hostKeys: ['" + key + " root@host']}\n",
		"endpoint of IPv6":        fleetHead + "  endpoint: '[fd00::1]:6443'\nmachines: [{name: a, address: b}]\n",
		"repository with a port":  goodFleet + "bundles: {repository: 'http://10.0.0.1:8080/k8s/'}\n",
		"digest in upper case":    goodFleet + "bundles: {sha256: {x.tar.gz: " + strings.Repeat("AB", 32) + "}}\n",
		"JSON, which is YAML too": `{"apiVersion": "argosy.dev/v1alpha1", "kind": "Fleet", "cluster": {"kubeconfigSecret": "a"}, "machines": [{"name": "a", "address": "b"}]}`,
		"Windows line ends":       strings.ReplaceAll(goodFleet, "\n", "\r\n"),
	} {
		t.Run(name, func(t *testing.T) { parse(t, goodVCluster, fleet) })
	}
	c := parse(t, goodVCluster, goodFleet+"bundles: {sha256: {x.tar.gz: "+strings.Repeat("AB", 32)+"}}\n")
	assert.Equal(t, c.Fleet.Bundles.SHA256["x.tar.gz"], strings.Repeat("ab", 32))
}

func TestVClusterIsCheckedValueByValue(t *testing.T) {
	private := func(text string) string { return "privateNodes:\n  enabled: true\n  " + text + "\n" }
	for name, test := range map[string]struct{ vcluster, key, want string }{
		"not private": {"privateNodes: {enabled: false}\n", "privateNodes.enabled", "must be true"},
		"nothing":     {"{}\n", "privateNodes.enabled", "must be true"},
		"path with a detour": {
			private("autoUpgrade: {binariesPath: /usr/../bin}"),
			"privateNodes.autoUpgrade.binariesPath", "without detours",
		},
		"path with a command": {
			private("autoUpgrade: {cniBinariesPath: '/opt/$(id)'}"),
			"privateNodes.autoUpgrade.cniBinariesPath", "not an absolute path",
		},
		"path of the root": {
			private("joinNode: {caCertPath: /}"), "privateNodes.joinNode.caCertPath",
			"not an absolute path",
		},
		"trailing slash": {
			private("autoUpgrade: {binariesPath: /usr/local/bin/}"),
			"privateNodes.autoUpgrade.binariesPath", `write "/usr/local/bin"`,
		},
		"pull policy": {
			private("autoUpgrade: {imagePullPolicy: always}"),
			"privateNodes.autoUpgrade.imagePullPolicy", `did you mean "Always"?`,
		},
		"security context": {
			private("autoUpgrade: {containerSecurityContext: {runAsUser: root}}"),
			"privateNodes.autoUpgrade.containerSecurityContext.runAsUser", "must be a whole number, not text",
		},
		"node selector": {
			private("autoUpgrade: {nodeSelector: {'a b': c}}"),
			`privateNodes.autoUpgrade.nodeSelector["a b"]`, "not a name for a label",
		},
		"pause image": {
			private("joinNode: {containerd: {pauseImage: 'a\"b'}}"),
			"privateNodes.joinNode.containerd.pauseImage", "not the name of an image",
		},
		"pause image with two tags": {
			private("joinNode: {containerd: {pauseImage: 'registry.k8s.io/pause:3.10:x'}}"),
			"privateNodes.joinNode.containerd.pauseImage", "not the name of an image",
		},
		"image without a file name": {
			private("autoUpgrade: {image: registry.example.com/}"),
			"privateNodes.autoUpgrade.image", "not the name of an image",
		},
		"socket over TCP": {
			private("joinNode: {nodeRegistration: {criSocket: 'tcp://1.2.3.4:5'}}"),
			"privateNodes.joinNode.nodeRegistration.criSocket", "address of a socket",
		},
		"argument with a newline": {private("joinNode: {nodeRegistration: {kubeletExtraArgs: [{name: v, value: " +
			"\"2\\n3\"}]}}"), "privateNodes.joinNode.nodeRegistration.kubeletExtraArgs[0].value", "not one argument"},
		"argument with a space": {private("joinNode: {nodeRegistration: {kubeletExtraArgs: [{name: v, value: '2 " +
			"--x'}]}}"), "privateNodes.joinNode.nodeRegistration.kubeletExtraArgs[0].value", "not one argument"},
		"argument in upper case": {
			private("joinNode: {nodeRegistration: {kubeletExtraArgs: [{name: V X, value: a}]}}"),
			"privateNodes.joinNode.nodeRegistration.kubeletExtraArgs[0].name", "name of an argument",
		},
		"argument without a name": {
			private("joinNode: {nodeRegistration: {kubeletExtraArgs: [{value: a}]}}"),
			"privateNodes.joinNode.nodeRegistration.kubeletExtraArgs[0].name", "is missing",
		},
		"one name for all": {
			private("joinNode: {nodeRegistration: {kubeletExtraArgs: [{name: " +
				"hostname-override, value: a}]}}"), "privateNodes.joinNode.nodeRegistration.kubeletExtraArgs[0].name",
			"set nodeName",
		},
		"preflight errors in one": {
			private("joinNode: {nodeRegistration: {ignorePreflightErrors: ['Swap,Mem']}}"),
			"privateNodes.joinNode.nodeRegistration.ignorePreflightErrors[0]", "one an item",
		},
		"empty phase": {
			private("joinNode: {skipPhases: ['']}"), "privateNodes.joinNode.skipPhases[0]",
			"is missing",
		},
		"endpoint without a port": {
			goodVCluster + "controlPlane: {endpoint: a.example.com}\n",
			"controlPlane.endpoint", "not host:port",
		},
		"tag that is no version": {
			goodVCluster + "controlPlane: {distro: {k8s: {image: {tag: latest}}}}\n",
			"controlPlane.distro.k8s.image.tag", `"latest" names no version`,
		},
		"replicas on SQLite": {
			goodVCluster + "controlPlane: {statefulSet: {highAvailability: {replicas: 3}}}\n",
			"controlPlane.statefulSet.highAvailability.replicas", "cannot share an embedded database",
		},
		"two stores": {
			goodVCluster + "controlPlane: {backingStore: {etcd: {deploy: {enabled: true}}, " +
				"database: {external: {enabled: true}}}}\n", "controlPlane.backingStore.etcd.deploy.enabled",
			"cannot be on together",
		},
		"budget with both": {
			goodVCluster + "controlPlane: {advanced: {podDisruptionBudget: {minAvailable: " +
				"1, maxUnavailable: 50%}}}\n", "controlPlane.advanced.podDisruptionBudget.maxUnavailable",
			"cannot stand beside",
		},
		"SAN": {
			goodVCluster + "controlPlane: {proxy: {extraSANs: [a.example.com, 'https://b']}}\n",
			"controlPlane.proxy.extraSANs[1]", "neither",
		},
		"network": {
			goodVCluster + "networking: {podCIDR: 10.64.0.0}\n", "networking.podCIDR",
			"not a network",
		},
		"network with host bits": {
			goodVCluster + "networking: {podCIDR: 10.64.0.1/16}\n", "networking.podCIDR",
			`write "10.64.0.0/16"`,
		},
		"overlapping networks": {
			goodVCluster + "networking: {serviceCIDR: 10.244.8.0/24}\n",
			"networking.serviceCIDR", "overlap",
		},
		"pod security": {
			goodVCluster + "policies: {podSecurityStandard: strict}\n",
			"policies.podSecurityStandard", "is not known",
		},
		"two default classes": {
			goodVCluster + "deploy: {csi: {kubeVirt: {enabled: true}}}\n",
			"deploy.csi.kubeVirt", "both be the default",
		},
		"kube-ovn without subnets": {
			goodVCluster + "controlPlane: {advanced: {cloudControllerManager: {kubeOvn: " +
				"{enabled: true, vpc: a}}}}\n",
			"controlPlane.advanced.cloudControllerManager.kubeOvn.loadBalancers.externalSubnet", "is missing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, problemsOf(t, test.vcluster, goodFleet), test.key, test.want)
		})
	}
}

func TestNoProblemShowsASecret(t *testing.T) {
	for _, vcluster := range []string{
		"privateNodes: {enabled: true, autoUpgrade: {bundleRepository: 'https://u:hunter2@x'}}\n",
		"privateNodes: {enabled: true, autoUpgrade: {bundleRepository: 'https://u:hunter2@x:port/'}}\n",
		goodVCluster + "controlPlane: {backingStore: {database: {external: {dataSource: [hunter2]}}}}\n",
		"privateNodes: {enabled: true, joinNode: {containerd: {registry: {auth: {a: {password: {hunter2: 1}, auth: " +
			"hunter2}}}}}}\n",
		"privateNodes: {enabled: true, joinNode: {containerd: {registry: {auth: {a: {password: hunter2}}}}}}\n",
	} {
		text := problemsOf(t, vcluster, goodFleet).Error()
		// An unknown key is named, even if it is a password: the user has to know which key it is.
		assert.Assert(t, !strings.Contains(strings.ReplaceAll(text, "password.hunter2", ""), "hunter2"), text)
	}
}
