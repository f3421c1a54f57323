package config_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/bundle/components"
	"argosy.dev/argosy/pkg/config"
)

// Values that the chart of the original has as its defaults, in one release or in all from 0.26 to 0.37.
const chartDefaults = `
privateNodes: {enabled: true, daemon: {enabled: false, controlPlaneLoadBalancer: {kubeProxy: true, port: 11343}}}
controlPlane:
  distro:
    k8s:
      enabled: false
      version: v1.34.4
      scheduler: {enabled: false}
      resources: {limits: {cpu: 100m, memory: 256Mi}, requests: {cpu: 40m, memory: 64Mi}}
    k3s: {enabled: false, image: {repository: rancher/k3s, tag: v1.35.0-k3s1}}
  service: {httpsNodePort: 0}
  standalone: {dataDir: /var/lib/vcluster, joinNode: {enabled: true, containerd: {enabled: true}}}
  statefulSet: {image: {registry: ghcr.io, repository: loft-sh/vcluster-pro}}
  advanced: {virtualScheduler: {enabled: false}}
networking: {advanced: {proxyKubelets: {byHostname: true, byIP: true}}}
experimental: {docker: {registryProxy: {enabled: true}, loadBalancer: {enabled: true, forwardPorts: true}}}
logging: {encoding: console, file: {enabled: false}}
deploy:
  volumeSnapshotController: {enabled: false}
  csi:
    kubeVirt:
      enabled: false
      imagePullPolicy: ""
      hostLabels: {}
      storageClass: {hostStorageClassName: "", hostVolumeMode: ""}
policies: {resourceQuota: {enabled: auto, quota: {requests.cpu: 10, count/pods: 20}}}
global: {}
sync:
  toHost:
    pods: {enabled: true, translateImage: {}, rewriteHosts: {enabled: true, initContainer: {image: {tag: "3.20"}}}}
    services: {enabled: true}
    secrets: {enabled: true, all: false}
  fromHost: {events: {enabled: true}, csiNodes: {enabled: auto}}
`

func TestDefaultsOfTheOriginalAreAccepted(t *testing.T) {
	for _, fleet := range []string{goodFleet, hostedFleet} {
		c := parse(t, chartDefaults, fleet)
		k8s := c.VCluster.ControlPlane.Distro.K8s
		assert.Assert(t, k8s.Enabled && k8s.Scheduler.Enabled)
		assert.Assert(t, c.VCluster.ControlPlane.Advanced.VirtualScheduler.Enabled)
		remarks := strings.Join(c.Remarks, "\n")
		assert.Assert(t, cmp.Contains(remarks, "settings have the original's defaults, which have no effect"))
		assert.Equal(t, strings.Count(remarks, "original's defaults"), 1)
	}
}

func TestValuesBesideAnOriginalDefaultAreRefused(t *testing.T) {
	for text, key := range map[string]string{
		"sync: {toHost: {pods: {enabled: true, translateImage: {a: b}}}}":         `sync.toHost.pods.translateImage.a`,
		"sync: {toHost: {secrets: {enabled: true, all: true}}}":                   "sync.toHost.secrets.all",
		"sync: {toHost: {ingresses: {enabled: true}}}":                            "sync.toHost.ingresses.enabled",
		"controlPlane: {standalone: {enabled: true, dataDir: /var/lib/vcluster}}": "controlPlane.standalone.enabled",
		"controlPlane: {standalone: {dataDir: /srv/own}}":                         "controlPlane.standalone.dataDir",
		"networking: {advanced: {proxyKubelets: {byHostname: true, byName: true}}}": "" +
			"networking.advanced.proxyKubelets.byName",
		"deploy: {volumeSnapshotController: {enabled: true}}": "deploy.volumeSnapshotController.enabled",
		"integrations: {istio: {enabled: true, sync: {toHost: {gateways: {enabled: true}}}}}": "integrations.istio." +
			"enabled",
		"serviceCIDR: 10.96.0.0/12": "serviceCIDR",
	} {
		only(t, problemsOf(t, goodVCluster+text+"\n", goodFleet), key, "")
	}
	only(t, problemsOf(t, provisioned("statefulSet: {image: {registry: ghcr.io, repository: own/program}}"),
		hostedFleet),
		"controlPlane.statefulSet.image.repository", "Argosy does not run")
	only(t, problemsOf(t, hostedVCluster+"logging: {file: {enabled: true}}\n", hostedFleet), "logging.file.enabled",
		"is not carried out")
}

func TestSettingsOfAnExistingClusterAreCounted(t *testing.T) {
	c := parse(t, `
privateNodes: {enabled: true, kubeProxy: {config: {mode: ipvs}}, cni: {flannel: {enabled: false}},
  kubelet: {config: {maxPods: 200, failSwapOn: false, cgroupDriver: systemd}}}
controlPlane: {advanced: {kubeVip: {enabled: true, interface: eth0}}, ingress: {enabled: true, host: a.example.com},
  distro: {k8s: {version: v1.34.4}}}
policies: {networkPolicy: {enabled: true}}
deploy: {metallb: {enabled: true, ipAddressPool: {addresses: [198.51.100.0/28]}}, localPathProvisioner: {enabled: true}}
exportKubeConfig: {context: mine}
`, goodFleet)
	assert.Equal(t, len(c.Remarks), 1, strings.Join(c.Remarks, "\n"))
	assert.Assert(t, cmp.Contains(c.Remarks[0], "settings are not carried out, since cluster.kubeconfigSecret names"))
	assert.Assert(t, cmp.Contains(c.Remarks[0], "vcluster.yaml: 12 settings"))
	assert.Equal(t, len(parse(t, goodVCluster, goodFleet).Remarks), 0)
	assert.Equal(t, len(parse(t, goodVCluster+"deploy: {kubeProxy: {enabled: true}}\n", goodFleet).Remarks), 0)
	assert.DeepEqual(t, parse(t, goodVCluster, goodFleet+"flannel: {port: 4789}\n").Remarks, []string{
		"argosy.yaml: flannel has no effect, since cluster.kubeconfigSecret names a cluster whose addons are not " +
			"Argosy's",
	})
	one := parse(t, goodVCluster+"exportKubeConfig: {context: mine}\n", goodFleet).Remarks
	assert.DeepEqual(t, one, []string{"vcluster.yaml: 1 setting is not carried out, since cluster.kubeconfigSecret " +
		"names a cluster whose control plane and addons are not Argosy's: exportKubeConfig.context"})
}

func TestAVersionIsNotDemanded(t *testing.T) {
	c := parse(t, goodVCluster, hostedFleet)
	assert.Equal(t, c.KubernetesVersion(), components.DefaultKubernetes)
	assert.Equal(t, c.NamesVersion(), false)
	assert.Equal(t, c.ControlPlaneImage(), "ghcr.io/loft-sh/kubernetes:"+components.DefaultKubernetes+"-full")
	assert.Equal(t, len(c.Remarks), 1)
	assert.Assert(t, cmp.Contains(c.Remarks[0], "a new control plane gets "+components.DefaultKubernetes))
	assert.Equal(t, c.Identity().KubernetesVersion, components.DefaultKubernetes)
	assert.Equal(t, parse(t, hostedVCluster, hostedFleet).Identity().KubernetesVersion, "")
	at, err := c.AtVersion("v1.35.8")
	assert.NilError(t, err)
	assert.Equal(t, at.KubernetesVersion(), "v1.35.8")
	assert.Equal(t, parse(t, goodVCluster, goodFleet).KubernetesVersion(), "", "the API server's")
}

func TestOnlyVersionsThatWorkAreAccepted(t *testing.T) {
	for _, fleet := range []string{goodFleet, hostedFleet} {
		for _, wrong := range []string{
			"v1.8.0", "v0.0.1", "v2.0.0", "v1.99.0", "v01.34.4", "v1.34.04", "v1.34.4-full-full", "v1.30.14", "latest",
		} {
			vcluster := strings.Replace(hostedVCluster, "v1.34.4", wrong, 1)
			only(t, problemsOf(t, vcluster, fleet), "controlPlane.distro.k8s.version", `"`+wrong+`" `)
			assert.Assert(t, config.CheckVersion(wrong) != nil, wrong)
		}
		for _, right := range []string{"v1.34.4", "1.35.8", "v1.36.5-full", "v1.37.0-rc.1", "v1.33.13"} {
			parse(t, strings.Replace(hostedVCluster, "v1.34.4", right, 1), fleet)
			assert.NilError(t, config.CheckVersion(right))
		}
	}
	c := parse(t, strings.Replace(hostedVCluster, "v1.34.4", "v1.31.2", 1), hostedFleet)
	oldest, newest := components.Supported()
	assert.Assert(t, cmp.Contains(strings.Join(c.Remarks, ""), "this release supports Kubernetes "+oldest+
		" to "+newest))
}
