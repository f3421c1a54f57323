package config_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"
	"gotest.tools/v3/golden"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
)

// The smallest documents that are right.
const (
	goodVCluster = "privateNodes:\n  enabled: true\n"
	fleetHead    = "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster:\n  kubeconfigSecret: admin\n"
	goodFleet    = fleetHead + "machines:\n- name: alpha\n  address: 10.0.0.1\n"
)

func parse(t *testing.T, vcluster, fleet string) *config.Cluster {
	t.Helper()
	c, err := config.Parse("team-a", []byte(vcluster), []byte(fleet))
	assert.NilError(t, err)
	agree(t, vcluster, fleet, nil)
	return c
}

func problemsOf(t *testing.T, vcluster, fleet string) config.Problems {
	t.Helper()
	_, err := config.Parse("team-a", []byte(vcluster), []byte(fleet))
	assert.Assert(t, err != nil, "the documents were accepted")
	assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	var problems config.Problems
	assert.Assert(t, errors.As(err, &problems))
	agree(t, vcluster, fleet, err)
	return problems
}

// only asserts that there is one problem, of this key, whose line holds want.
func only(t *testing.T, problems config.Problems, key, want string) {
	t.Helper()
	assert.Equal(t, len(problems), 1, problems.Error())
	assert.Equal(t, problems[0].Key, key)
	assert.Assert(t, cmp.Contains(problems[0].String(), want))
}

func TestTheSmallestDocumentsAreCompleted(t *testing.T) {
	c := parse(t, goodVCluster, goodFleet)
	assert.Equal(t, c.Name, "team-a")
	assert.Equal(t, c.Fleet.Limits.Concurrency, 5)
	assert.Equal(t, c.Fleet.Machines[0].NodeName, "alpha")
	assert.Equal(t, c.Fleet.Bundles.Repository, "https://github.com/loft-sh/kubernetes/releases/download")
	assert.Equal(t, c.VCluster.PrivateNodes.AutoUpgrade.BinariesPath, "/usr/local/bin")
	assert.Equal(t, c.VCluster.PrivateNodes.JoinNode.Containerd.Enabled, true)
	assert.Equal(t, c.KubernetesVersion(), "")
	assert.Equal(t, c.CgroupDriver(), "")
}

func TestEveryProblemIsListedAtOnceWithItsPlace(t *testing.T) {
	for name, documents := range map[string][2]string{
		"vcluster": {`
privateNodes:
  enabled: yes
  importNodeBinarys: true
  kubelet:
    cgroupDriver: systemD
    config:
      cgroupDriver: cgroupfs
      maxPods: 20
  autoUpgrade:
    concurrency: 0
    binariesPath: usr/local/bin/
    bundleRepository: https://user:hunter2@example.com/x
    podSecurityContext:
      runAsUsr: 1
  joinNode:
    preJoinCommands:
    - swapoff -a
    containerd:
      enabled: false
      registry:
        mirrors:
          docker.io: {server: "https://mirror.example.com"}
    skipPhases: ["preflight; reboot"]
    nodeRegistration:
      criSocket: /run/containerd/containerd.sock
      kubeletExtraArgs:
      - name: --node-ip
        value: "$(id)"
      taints:
      - {key: gpu, effect: NoShedule}
  autoNodes:
  - provider: aws
sync:
  toHost:
    pods:
      enabled: true
controlPlane:
  endpoint: api.example.com
  distro:
    k8s:
      version: v1.33.1
      image: {tag: v1.34.4}
  coredns:
    embedded: true
networking:
  podCIDR: 10.96.0.0/16
cni: {}
`, goodFleet},
		"fleet": {goodVCluster, `
apiVersion: argosy.dev/v1
kind: Flet
cluster:
  kubeconfigSecret: Admin
  endpoint: api.example.com:99999
ssh:
  user: "root; reboot"
  port: 0
  hostKeys: ["ssh-ed25519 nonsense"]
  connectTimeout: 10
machines:
- name: "alpha\n$(reboot)"
  address: 10.0.0.1
- name: bravo
  address: ::ffff:10.0.0.1
  labels:
    'quo"te': "back` + "`tick`" + `"
- name: bravo
  adress: 10.0.0.3
- name: charlie
  nodeName: bravo
  address: root@10.0.0.4
  ssh: {port: 65536}
- name: delta
  address: "[fd00::1]"
  taints:
  - {key: a, effect: NoSchedule}
  - {key: a, effect: NoSchedule, value: b}
bundles:
  repository: ftp://example.com
  format: zip
  delivery: pusj
  sha256:
    kubernetes-v1.34.4-amd64.tar.gz: abc
join:
  minDisk: much
  maxClockSkew: 0s
limits:
  concurrency: -1
  machineTimeout: soon
`},
	} {
		t.Run(name, func(t *testing.T) {
			text := problemsOf(t, documents[0], documents[1]).Error()
			assert.Assert(t, !strings.Contains(text, "hunter2"))
			golden.Assert(t, text+"\n", "problems-"+name+".golden")
		})
	}
}

func TestAnUnknownKeyNamesItsLineAndTheNearestKey(t *testing.T) {
	for name, test := range map[string]struct {
		vcluster, fleet   string
		line, column      int
		key, wantsToNamed string
	}{
		"a slip": {
			fleet: goodFleet + "  adress: x\n", line: 8, column: 3, key: "machines[0].adress",
			wantsToNamed: "known here",
		},
		"a slip of a free key": {
			fleet: fleetHead + "machines:\n- name: a\n  address: b\n  lables: {}\n", line: 8,
			column: 3, key: "machines[0].lables", wantsToNamed: `did you mean "labels"?`,
		},
		"wrong case": {
			vcluster: "privateNodes:\n  enabled: true\n  joinnode: {}\n", line: 3, column: 3,
			key: "privateNodes.joinnode", wantsToNamed: `"joinNode"`,
		},
		"wrong place": {
			vcluster: goodVCluster + "flannel: {enabled: false}\n", line: 3, column: 1,
			key: "flannel", wantsToNamed: "did you mean privateNodes.cni.flannel or deploy.cni.flannel?",
		},
		"nothing alike": {
			fleet: goodFleet + "cluster2: {}\nzzzzzzzz: 1\n", line: 8, column: 1, key: "cluster2",
			wantsToNamed: "unknown key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			vcluster, fleet := test.vcluster, test.fleet
			if vcluster == "" {
				vcluster = goodVCluster
			}
			if fleet == "" {
				fleet = goodFleet
			}
			first := problemsOf(t, vcluster, fleet)[0]
			assert.Equal(t, first.Key, test.key)
			assert.Equal(t, first.Line, test.line)
			assert.Equal(t, first.Column, test.column)
			assert.Assert(t, cmp.Contains(first.String(), test.wantsToNamed))
		})
	}
}

func TestTextsThatAreNoMappingAreReportedWithTheirLine(t *testing.T) {
	bomb := "a0: &a0 [x]\n"
	for i := range 30 {
		bomb += fmt.Sprintf("a%d: &a%d [*a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i)
	}
	mergeBomb := "m0: &m0 {x: 1}\n"
	for i := range 30 {
		mergeBomb += fmt.Sprintf("m%d: &m%d {<<: [*m%d, *m%d, *m%d]}\n", i+1, i+1, i, i, i)
	}
	for name, test := range map[string]struct{ text, want string }{
		"empty":          {"", "vcluster.yaml: is empty"},
		"only a comment": {"# nothing\n", "vcluster.yaml: is empty"},
		"null":           {"---\n", "vcluster.yaml: is empty"},
		"a list":         {"- a\n", "vcluster.yaml:1:1: must be a mapping"},
		"text":           {"hello\n", "vcluster.yaml:1:1: must be a mapping"},
		"two documents":  {goodVCluster + "---\na: 1\n", "vcluster.yaml:3:1: holds more than one YAML document"},
		"a tab": {
			"privateNodes:\n\tenabled: true\n",
			"vcluster.yaml:2:1: is not YAML: is indented with a tab; indent with spaces",
		},
		"a tab after spaces": {
			"privateNodes:\n  enabled: true\n  \tkubelet: {}\n",
			"vcluster.yaml:3:3: is not YAML: is indented with a tab",
		},
		"a stray colon":     {"privateNodes:\n  enabled: true: false\n", "vcluster.yaml:2:12: is not YAML"},
		"a missing bracket": {"a: [1, 2\nb: 1\n", "vcluster.yaml:2:1: is not YAML"},
		"a missing quote":   {"a: 1\nb: \"x\n", "vcluster.yaml:2:4: is not YAML"},
		"a duplicate key": {
			goodVCluster + "privateNodes: {}\n",
			`vcluster.yaml:3:1: privateNodes: is a duplicate of the key in line 1; remove one of them`,
		},
		"a number as key": {
			goodVCluster + "1: {}\n",
			`vcluster.yaml:3:1: 1: is read as a number or a boolean, not as a key; write it in quotes: "1"`,
		},
		"a list as key": {goodVCluster + "? [a]\n: b\n", "vcluster.yaml:3:3: has a key that is not text"},
		"a tag": {
			"privateNodes: !!python/object {enabled: true}\n",
			"vcluster.yaml:1:15: privateNodes: has the tag",
		},
		"an unknown anchor":   {"a: 1\nb: *nowhere\n", `vcluster.yaml:2:4: refers to the anchor "nowhere"`},
		"a control character": {"a: 1\nb: \x00\n", "vcluster.yaml:2:4: holds a byte that is no text"},
		"not UTF-8":           {"a: \xff\n", "vcluster.yaml:1:4: holds a byte that is no text"},
		"an anchor in itself": {"sync: &a {b: *a}\n", "nested more than 64 levels deep, or an anchor holds itself"},
		"a merge of itself":   {"sync: &a {<<: *a}\n", "merges too much"},
		"deep nesting": {
			"sync: " + strings.Repeat("[", 100) + strings.Repeat("]", 100),
			"nested more than 64 levels",
		},
		"an anchor bomb": {bomb, "values once its anchors are expanded"},
		"a merge bomb":   {mergeBomb, "merges too much"},
		"too long":       {"# " + strings.Repeat("x", 1<<20), "a ConfigMap holds 1048576 at most"},
		"wrong type": {"privateNodes: [a]\n", "vcluster.yaml:1:1: privateNodes: must be a mapping of keys " +
			"to values, not a list"},
		"a list wanted": {
			"privateNodes: {enabled: true, joinNode: {skipPhases: preflight}}\n",
			"must be a list, not text",
		},
		"a number for text": {
			goodVCluster + "controlPlane: {distro: {k8s: {version: 1.34}}}\n",
			"vcluster.yaml:3:40: controlPlane.distro.k8s.version: must be text, not a number, and " +
				"\"1.34\" has no patch version, which a node's binaries have; write e.g. \"v1.34.0\"",
		},
		"text for a number": {
			"privateNodes: {enabled: true, joinNode: {}}\ncontrolPlane: {proxy: {port: two}}\n",
			"must be a whole number, not text",
		},
		"a huge number": {"privateNodes: {enabled: true, joinNode: {}}\ncontrolPlane: {proxy: {port: " +
			"99999999999}}\n", "is out of range; use -2147483648 to 2147483647"},
		"infinity": {
			"privateNodes: {enabled: true, kubelet: {config: {x: .inf}}}\n",
			"is not a number that JSON can hold",
		},
		"a hole in a list": {"privateNodes: {enabled: true, joinNode: {skipPhases: [a, ]}}\nx:\n", "unknown key"},
		"an empty item": {
			"privateNodes:\n  enabled: true\n  joinNode:\n    skipPhases:\n    -\n",
			"skipPhases[0]: is empty; remove it",
		},
		"quoted boolean": {
			"privateNodes: {enabled: \"true\"}\n",
			"must be true or false, not text; remove the quotes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Assert(t, cmp.Contains(problemsOf(t, test.text, goodFleet).Error(), test.want))
		})
	}
}

func TestAnchorsAndMergeKeysWork(t *testing.T) {
	c := parse(t, goodVCluster, fleetHead+`
machines:
- &first
  name: alpha
  address: 10.0.0.1
  labels: &labels {zone: a}
- <<: *first
  name: bravo
  address: 10.0.0.2
- name: charlie
  address: 10.0.0.3
  labels: *labels
`)
	assert.DeepEqual(t, c.Fleet.Machines[1].Labels, map[string]string{"zone": "a"})
	assert.Equal(t, c.Fleet.Machines[1].Name, "bravo")
	assert.DeepEqual(t, c.Fleet.Machines[2].Labels, map[string]string{"zone": "a"})
}

func TestNullAndEmptyTextMeanTheDefault(t *testing.T) {
	c := parse(t, `
privateNodes:
  enabled: true
  kubelet:
  autoUpgrade:
    binariesPath: ""
    concurrency: null
    bundleRepository: ~
`, goodFleet+"limits:\n  concurrency:\nbundles: {format: ''}\n")
	assert.Equal(t, c.VCluster.PrivateNodes.AutoUpgrade.BinariesPath, "/usr/local/bin")
	assert.Equal(t, c.VCluster.PrivateNodes.AutoUpgrade.Concurrency, config.Amount("1"))
	assert.Equal(t, c.Fleet.Limits.Concurrency, 5)
	assert.Equal(t, c.Fleet.Bundles.Format, "tar.gz")
}

func TestBothSpellingsMeanTheSame(t *testing.T) {
	older := parse(t, "privateNodes:\n  enabled: true\n  cni: {flannel: {enabled: false}}\n  kubeProxy: {enabled: "+
		"false}\n  localPathProvisioner: {enabled: false}\n  kubelet: {cgroupDriver: cgroupfs}\n", goodFleet)
	newer := parse(t, "privateNodes:\n  enabled: true\n  kubelet: {config: {cgroupDriver: cgroupfs}}\ndeploy:\n  "+
		"cni: {flannel: {enabled: false}}\n  kubeProxy: {enabled: false}\n  localPathProvisioner: {enabled: false}\n",
		goodFleet)
	assert.Assert(t, reflect.DeepEqual(older.VCluster, newer.VCluster))
	assert.Equal(t, older.CgroupDriver(), "cgroupfs")
	assert.Equal(t, older.VCluster.Deploy.CNI.Flannel.Enabled, false)
	assert.Equal(t, older.VCluster.PrivateNodes.CNI, config.CNI{})

	both := parse(t, "privateNodes:\n  enabled: true\n  cni: {flannel: {enabled: false}}\ndeploy: {cni: {flannel: "+
		"{enabled: false, image: x}}}\n", goodFleet)
	assert.Equal(t, both.VCluster.Deploy.CNI.Flannel, config.Flannel{Image: "x"})
}

func TestSpellingsThatContradictEachOtherAreRefused(t *testing.T) {
	only(t, problemsOf(t, "privateNodes:\n  enabled: true\n  cni: {flannel: {enabled: false}}\ndeploy: {cni: "+
		"{flannel: {enabled: true}}}\n", goodFleet),
		"privateNodes.cni.flannel.enabled", "vcluster.yaml:3:28: privateNodes.cni.flannel.enabled: contradicts "+
			"deploy.cni.flannel.enabled")
	only(t, problemsOf(t, "privateNodes:\n  enabled: true\n  kubelet: {cgroupDriver: systemd, config: {cgroupDriver: "+
		"cgroupfs}}\n", goodFleet),
		"privateNodes.kubelet.cgroupDriver", "contradicts privateNodes.kubelet.config.cgroupDriver")
	only(t, problemsOf(t, goodVCluster+"controlPlane: {distro: {k8s: {version: v1.33.1, image: {tag: v1.34.4}}}}\n",
		goodFleet),
		"controlPlane.distro.k8s.version", "contradicts controlPlane.distro.k8s.image.tag")
}

func TestBothDocumentsAreReadEvenIfOneIsBroken(t *testing.T) {
	problems := problemsOf(t, "a: [", "kind: Fleet\n")
	documents := map[string]bool{}
	for _, p := range problems {
		documents[p.Document] = true
	}
	assert.Assert(t, documents["vcluster.yaml"] && documents["argosy.yaml"], problems.Error())
}
