//go:build full

package e2e_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/site"
)

// A cluster whose machines joined before kubelets were verified is one in whose documents it was off.
func TestAClusterOfEarlierMachinesComesToVerifyKubelets(t *testing.T) {
	const machine = "m5"
	metrics := func(d map[string]any) { site.Set(d, "deploy.metricsServer.enabled", true) }
	cluster := newCluster(t, func(d map[string]any) {
		metrics(d)
		site.Set(d, "privateNodes.kubelet.config.serverTLSBootstrap", false)
	}, machine)
	verifies := func() bool {
		return strings.Contains(hostKubectl(t, cluster, "get", "statefulset", "team-c-control-plane", "-o",
			"jsonpath={.spec.template.spec.containers[*].args}"), "--kubelet-certificate-authority=")
	}
	reached := func() {
		t.Helper()
		eventuallyPrints(t, cluster, "I", "logs", "-n", "kube-system", "daemonset/kube-proxy")
		eventuallyPrints(t, cluster, machine, "top", "nodes", "--no-headers")
	}
	mustSucceed(t, cluster, "provision")
	mustSucceed(t, cluster, "join")
	eventuallyReady(t, cluster, machine)
	assert.Assert(t, !verifies())
	reached()

	cluster.VCluster = metrics
	assert.NilError(t, cluster.ApplyDocuments(t.Context()))
	message := step(t, mustSucceed(t, cluster, "provision"), "control-plane").Message
	assertContains(t, message, "the API server does not verify kubelets yet, since node "+machine+
		" has no serving certificate of the cluster's: submit reconcile for all machines, then provision again")
	assert.Assert(t, !verifies())
	reached()

	w := mustSucceed(t, cluster, "reconcile")
	assertContains(t, step(t, w, "plan").Message, "/var/lib/kubelet/config.yaml (restarts kubelet)")
	reached()
	mustSucceed(t, cluster, "provision")
	assert.Assert(t, verifies())
	reached()
}
