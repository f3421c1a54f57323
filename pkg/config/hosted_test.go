package config_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/assert/cmp"

	"argosy.dev/argosy/pkg/config"
)

// The smallest documents of a cluster that Argosy provisions.
const (
	hostedVCluster = goodVCluster + "controlPlane:\n  distro:\n    k8s: {version: v1.34.4}\n"
	hostedFleet    = "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\n"
)

func TestAClusterWithoutAKubeconfigSecretIsProvisioned(t *testing.T) {
	c := parse(t, hostedVCluster, hostedFleet)
	assert.Assert(t, c.Hosted())
	assert.Equal(t, c.KubeconfigSecret(), "team-a-kubeconfig")
	assert.Equal(t, len(c.Fleet.Machines), 0)
	assert.Equal(t, c.Fleet.ControlPlane.Timeout.Duration.String(), "10m0s")

	existing := parse(t, goodVCluster, goodFleet)
	assert.Assert(t, !existing.Hosted())
	assert.Equal(t, existing.KubeconfigSecret(), "admin")
}

func TestBundlesComeFromTheControlPlaneByDefault(t *testing.T) {
	const mine = "https://bundles.example.com"
	for name, test := range map[string]struct {
		vcluster, fleet string
		from            bool
		repository      string
	}{
		"hosted": {hostedVCluster, hostedFleet, true, ""},
		"hosted, older repository": {strings.Replace(hostedVCluster, "true\n",
			"true\n  autoUpgrade: {bundleRepository: "+mine+"}\n", 1), hostedFleet, true, ""},
		"hosted, without import": {
			strings.Replace(hostedVCluster, "true\n",
				"true\n  importNodeBinaries: false\n", 1), hostedFleet, false,
			"https://github.com/loft-sh/kubernetes/releases/download",
		},
		"hosted, a repository": {
			hostedVCluster, hostedFleet + "bundles: {repository: " + mine + "}\n", false,
			mine,
		},
		"existing": {
			goodVCluster, goodFleet, false,
			"https://github.com/loft-sh/kubernetes/releases/download",
		},
		"existing, with a repository": {
			goodVCluster, goodFleet + "bundles: {repository: " + mine + "}\n", false,
			mine,
		},
		"existing, under its older name": {strings.Replace(goodVCluster, "true\n",
			"true\n  autoUpgrade: {bundleRepository: "+mine+"}\n", 1), goodFleet, false, mine},
	} {
		t.Run(name, func(t *testing.T) {
			c := parse(t, test.vcluster, test.fleet)
			assert.Equal(t, c.BundlesFromControlPlane(), test.from)
			assert.Equal(t, c.Fleet.Bundles.Repository, test.repository)
		})
	}
}

func TestAHostedClusterIsCheckedAsSuch(t *testing.T) {
	for name, test := range map[string]struct{ vcluster, fleet, key, want string }{
		"endpoint of fleet": {
			hostedVCluster, hostedFleet + "cluster: {endpoint: 'a:6443'}\n", "cluster.endpoint",
			"set controlPlane.endpoint in vcluster.yaml",
		},
		"endless wait": {
			hostedVCluster, hostedFleet + "controlPlane: {timeout: 0s}\n", "controlPlane.timeout",
			"more than 0",
		},
		"image of Argosy": {
			hostedVCluster, hostedFleet + "controlPlane: {image: 'a b'}\n", "controlPlane.image",
			"not the name of an image",
		},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, problemsOf(t, test.vcluster, test.fleet), test.key, test.want)
		})
	}
}

func TestAHostedClustersNameFitsServiceAndStatefulSet(t *testing.T) {
	for name, right := range map[string]bool{
		"a": true, "team-a": true, strings.Repeat("a", 38): true,
		strings.Repeat("a", 39): false, "team.a": false, "1st": false,
	} {
		_, err := config.Parse(name, []byte(hostedVCluster), []byte(hostedFleet))
		assert.Equal(t, err == nil, right, name)
		_, err = config.Parse(name, []byte(goodVCluster), []byte(goodFleet))
		assert.NilError(t, err)
	}
}

// After a slip in section cluster the kind of cluster is not known, so problems that depend on it are left out.
func TestASlipInSectionClusterIsTheOnlyProblem(t *testing.T) {
	for name, test := range map[string]struct{ fleet, key string }{
		"a key below":   {hostedFleet + "cluster: {kubeconfgSecret: a}\n", "cluster.kubeconfgSecret"},
		"the section":   {hostedFleet + "clutser: {kubeconfigSecret: a}\n", "clutser"},
		"a wrong value": {hostedFleet + "cluster: {kubeconfigSecret: 5}\n", "cluster.kubeconfigSecret"},
		"a wrong type":  {hostedFleet + "cluster: admin\n", "cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			only(t, problemsOf(t, goodVCluster, test.fleet), test.key, "")
		})
	}
}

func TestKubeletSettingsAreAcceptedInAHostedCluster(t *testing.T) {
	const kubelet = "  kubelet: {config: {maxPods: 20}}\n"
	c := parse(t, strings.Replace(hostedVCluster, "true\n", "true\n"+kubelet, 1), hostedFleet)
	assert.Equal(t, c.VCluster.PrivateNodes.Kubelet.Config["maxPods"], 20)
	existing := parse(t, strings.Replace(goodVCluster, "true\n", "true\n"+kubelet, 1), goodFleet)
	assert.Assert(t, cmp.Contains(strings.Join(existing.Remarks, ""), "privateNodes.kubelet.config.maxPods"))
}
