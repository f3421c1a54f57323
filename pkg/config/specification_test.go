package config_test

import (
	"os"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

// The examples of the specification, with the indentation that its text has lost. Each is read for a cluster that
// exists and for one that Argosy provisions.

// example parses a block for a cluster that exists. For one that is provisioned, it only lacks a version, if it does.
func example(t *testing.T, block string) *config.Cluster {
	t.Helper()
	_, err := config.Parse("team-a", []byte(block), []byte(hostedFleet))
	assert.NilError(t, err)
	return parse(t, block, goodFleet)
}

func TestTheOverviewExampleIsAccepted(t *testing.T) {
	c := example(t, `
privateNodes:
  enabled: true
controlPlane:
  distro:
    k8s:
      image:
        tag: v1.31.2
  service:
    spec:
      type: LoadBalancer
networking:
  podCIDR: 10.64.0.0/16
  serviceCIDR: 10.128.0.0/16
`)
	assert.Equal(t, c.KubernetesVersion(), "v1.31.2")
	assert.Equal(t, c.VCluster.ControlPlane.Service.Spec["type"], "LoadBalancer")
	assert.Equal(t, c.VCluster.Networking.PodCIDR, "10.64.0.0/16")
	assert.Equal(t, c.VCluster.Networking.ServiceCIDR, "10.128.0.0/16")
}

func TestTheSchedulerExampleIsAccepted(t *testing.T) {
	example(t, goodVCluster+`
controlPlane:
  advanced:
    virtualScheduler:
      enabled: true
`)
}

// Every line of the block has the value that holds anyway, so the block as it stands passes.
func TestTheUnsupportedBlockIsAcceptedUnchanged(t *testing.T) {
	block, err := os.ReadFile("testdata/specification-unsupported.yaml")
	assert.NilError(t, err)
	example(t, goodVCluster+string(block))
}

// Each of its lines, turned around, is refused, and there is no other problem. Those that are then the defaults of the
// original's chart are accepted: see TestDefaultsOfTheOriginalAreAccepted.
func TestEachLineOfTheUnsupportedBlockIsRefusedWhenInverted(t *testing.T) {
	for key, text := range map[string]string{
		"sync.services.enabled":                        "sync: {services: {enabled: true}}",
		"sync.secrets.enabled":                         "sync: {secrets: {enabled: true}}",
		"integrations.metricsServer.enabled":           "integrations: {metricsServer: {enabled: true}}",
		"networking.replicateServices.enabled":         "networking: {replicateServices: {enabled: true}}",
		"networking.replicateServices.toHost":          "networking: {replicateServices: {toHost: [{from: a, to: b}]}}",
		"controlPlane.distro.k3s.enabled":              "controlPlane: {distro: {k3s: {enabled: true}}}",
		"controlPlane.coredns.embedded":                "controlPlane: {coredns: {embedded: true}}",
		"controlPlane.advanced.hostPathMapper.enabled": "controlPlane: {advanced: {hostPathMapper: {enabled: true}}}",
		"sleepMode.enabled":                            "sleepMode: {enabled: true}",
		"experimental.isolatedControlPlane.enabled":    "experimental: {isolatedControlPlane: {enabled: true}}",
	} {
		t.Run(key, func(t *testing.T) {
			problems := problemsOf(t, goodVCluster+text+"\n", goodFleet)
			assert.Equal(t, len(problems), 1, problems.Error())
			assert.Equal(t, problems[0].Key, key)
			assert.Equal(t, problems[0].Line, 3)
			assert.Assert(t, problems[0].Suggestion != "")
		})
	}
}

func TestTheFlannelExampleIsAcceptedUnderItsOlderName(t *testing.T) {
	c := example(t, `
privateNodes:
  enabled: true
  cni:
    flannel:
      enabled: false
`)
	assert.Equal(t, c.VCluster.Deploy.CNI.Flannel.Enabled, false)
}

// Every key of the configuration reference, with a value that this version carries out.
func TestTheConfigReferenceIsAccepted(t *testing.T) {
	c := example(t, `
privateNodes:
  enabled: true
  importNodeBinaries: true
  kubelet:
    cgroupDriver: systemd
  autoUpgrade:
    enabled: true
    image: ghcr.io/example/upgrade:v1
    imagePullPolicy: IfNotPresent
    nodeSelector: {zone: a}
    bundleRepository: https://bundles.example.com/kubernetes
    binariesPath: /opt/kubernetes/bin
    cniBinariesPath: /opt/kubernetes/cni
    concurrency: 2
  joinNode:
    preJoinCommands: []
    postJoinCommands: []
    containerd:
      enabled: true
      registry: {configPath: "", mirrors: {}}
      importImages: []
      pauseImage: registry.example.com/pause:3.10
    caCertPath: /etc/kubernetes/pki/ca.crt
    skipPhases: [preflight, control-plane-prepare/certs]
    nodeRegistration:
      criSocket: unix:///run/containerd/containerd.sock
      kubeletExtraArgs:
      - {name: node-labels, value: "zone=a,tier=gpu"}
      - {name: node-labels, value: "rack=b"}
      - {name: eviction-hard, value: "memory.available<100Mi,nodefs.available<10%"}
      taints:
      - {key: gpu, value: "yes", effect: NoSchedule}
      ignorePreflightErrors: [Swap, FileAvailable--etc-kubernetes-kubelet.conf]
      imagePullPolicy: Never
`)
	assert.Equal(t, c.Fleet.Bundles.Repository, "https://bundles.example.com/kubernetes")
	assert.Equal(t, c.CgroupDriver(), "systemd")
	assert.Equal(t, len(c.VCluster.PrivateNodes.JoinNode.NodeRegistration.KubeletExtraArgs), 3)
	assert.Equal(t, c.VCluster.PrivateNodes.JoinNode.NodeRegistration.ImagePullPolicy, "Never")
}
