//go:build full

package e2e_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// A cluster goes from the oldest supported version to the newest, one minor version after another, while a Service of
// its workload is asked all the time.
func TestClusterIsUpgradedThroughEverySupportedVersion(t *testing.T) {
	for _, version := range lab.Versions {
		_, err := env.Lab.ControlPlaneImage(t.Context(), version)
		assert.NilError(t, err)
	}
	upgradeCluster = newCluster(t, func(d map[string]any) {
		site.Set(d, "controlPlane.distro.k8s.image.tag", lab.Versions[0])
	}, "m1", "m2", "m3")
	setPolicy(t, nil)
	mustSucceed(t, upgradeCluster, "provision")
	mustSucceed(t, upgradeCluster, "join")
	apply(t, upgradeCluster, threeReplicas)
	kubectl(t, upgradeCluster, "rollout", "status", "deployment/web", "--timeout="+patience.String())
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Versions[0]))

	address := kubectl(t, upgradeCluster, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	for _, version := range lab.Versions[1:] {
		// The poll of a machine ends after ten minutes, so each upgrade has its own.
		stop := pollFrom(t, "m1", "http://"+address+"/")
		mustSucceed(t, upgradeCluster, "upgrade", "version="+version)
		assert.Equal(t, nodeVersions(t), versionsWith(version))
		answers, failures := stop()
		t.Logf("to %s: the Service was asked %d times, %d without an answer", version, answers+failures, failures)
		assert.Assert(t, answers > 20)
		assert.Equal(t, failures, 0)
	}
}
