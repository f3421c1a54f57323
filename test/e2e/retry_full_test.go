//go:build full

package e2e_test

import (
	"context"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// retry has Argo retry a workflow that failed, and waits for its end.
func retry(t *testing.T, c virtualCluster, name string, options ...string) *wfv1.Workflow {
	t.Helper()
	_, err := c.Argo(t.Context(), append([]string{"retry", name}, options...)...)
	assert.NilError(t, err)
	return waitForEnd(t, c, name)
}

// unplug cuts a machine off until the returned function is called, or the test ends.
func unplug(t *testing.T, machine string) (plug func()) {
	t.Helper()
	assert.NilError(t, machineNamed(t, machine).Connect(t.Context(), false))
	t.Cleanup(func() { _ = machineNamed(t, machine).Connect(context.Background(), true) })
	return func() { assert.NilError(t, machineNamed(t, machine).Connect(t.Context(), true)) }
}

func TestRetriedUpgradeUpgradesWhatItLeft(t *testing.T) {
	newUpgradedCluster(t)
	t.Run("a halted upgrade goes on once its machine is mended", testRetryAfterHalt)
	t.Run("a machine is begun again by its node", testRetryOfOneNode)
	t.Run("a resubmitted upgrade begins anew", testResubmit)
	t.Run("a backup runs while an upgrade waits for approval", testBackupDuringApproval)
	t.Run("a webhook that fails keeps a drain waiting", testFailingWebhook)
	t.Run("the new kubelet refuses an argument while it is staged", testKubeletRefusesArgument)
}

func testRetryAfterHalt(t *testing.T) {
	rollBack(t, "m1", "m2", "m3")
	defer setPolicy(t, nil)
	setPolicy(t, map[string]any{
		"upgrade.maxUnavailable": 1, "limits.retryBudget": "2s", "ssh.connectTimeout": "2s", "upgrade.canaries": "",
	})
	plug := unplug(t, "m1")
	w := mustFail(t, upgradeCluster, "upgrade")
	assertContains(t, step(t, w, "m2").Message, "halted after m1")
	verified := step(t, w, "verify").Message
	assertContains(t, verified, "0 of 3 machines are Ready at "+lab.Version, "m2: halted after m1",
		"m3: halted after m1")

	// Retried with the machine away, it fails once more and upgrades nothing.
	w = retry(t, upgradeCluster, w.Name)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
	assertContains(t, step(t, w, "verify").Message, "0 of 3 machines are Ready at "+lab.Version)

	plug()
	eventuallyReady(t, upgradeCluster, "m1")
	w = retry(t, upgradeCluster, w.Name)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

func testRetryOfOneNode(t *testing.T) {
	rollBack(t, "m1")
	w := upgradeAll(t)
	rollBack(t, "m1")
	name, _, _ := strings.Cut(step(t, w, "m1").DisplayName, ")(") // of the step: Argo begins no attempt of it again
	w = retry(t, upgradeCluster, w.Name, "--restart-successful", "--node-field-selector", "displayName="+name+")")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

func testResubmit(t *testing.T) {
	rollBack(t, "m1", "m2")
	defer setPolicy(t, nil)
	setPolicy(t, map[string]any{"limits.retryBudget": "2s", "ssh.connectTimeout": "2s"})
	plug := unplug(t, "m1")
	w := mustFail(t, upgradeCluster, "upgrade")
	plug()
	eventuallyReady(t, upgradeCluster, "m1")
	out, err := upgradeCluster.Argo(t.Context(), "resubmit", w.Name, "-o", "name")
	assert.NilError(t, err)
	w = waitForEnd(t, upgradeCluster, strings.TrimSpace(out))
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

func testBackupDuringApproval(t *testing.T) {
	rollBack(t, "m1", "m2")
	defer setPolicy(t, nil)
	setPolicy(t, map[string]any{"upgrade.approval": "always"})
	name := submit(t, upgradeCluster, "upgrade")
	eventuallyWithin(t, 2*patience, "the workflow asks", func() bool {
		out, err := upgradeCluster.HostKubectl(t.Context(), "get", "workflow", name, "-o",
			`jsonpath={range .status.nodes.*}{.type} {.phase} {.displayName}{"\n"}{end}`)
		return err == nil && strings.Contains(out, "Suspend Running approve")
	}, func() string { return nodeVersions(t) })
	mustSucceed(t, upgradeCluster, "backup")
	_, err := upgradeCluster.Argo(t.Context(), "resume", name, "--node-field-selector", "displayName=approve")
	assert.NilError(t, err)
	assert.Equal(t, waitForEnd(t, upgradeCluster, name).Status.Phase, wfv1.WorkflowSucceeded)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

// unreachableWebhook fails every eviction in namespace default, also one that is only tried: nothing answers there.
const unreachableWebhook = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: evictions}
webhooks:
- name: evictions.example.org
  clientConfig: {url: "https://127.0.0.1:9/"}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods/eviction]}]
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 2
  failurePolicy: Fail
`

func testFailingWebhook(t *testing.T) {
	rollBack(t, "m1")
	spreadWorkload(t, "m1")
	apply(t, upgradeCluster, unreachableWebhook)
	remove := func() {
		_, err := upgradeCluster.Kubectl(context.Background(), "delete", "validatingwebhookconfiguration", "evictions",
			"--ignore-not-found")
		assert.NilError(t, err)
	}
	defer remove()
	name := submit(t, upgradeCluster, "upgrade")
	var message string
	eventuallyWithin(t, 2*patience, "the drain waits for the webhook", func() bool {
		w, err := readWorkflow(t, upgradeCluster, name)
		if err != nil {
			return false
		}
		for _, node := range w.Status.Nodes {
			if isStep(node, "m1") && strings.Contains(node.Message, "drain]") {
				message = node.Message
			}
		}
		return strings.Contains(message, `failed calling webhook "evictions.example.org"`)
	}, func() string { return message })
	eventuallyPrints(t, upgradeCluster, "true", "get", "node", "m1", "-o", "jsonpath={.spec.unschedulable}")
	remove()
	assert.Equal(t, waitForEnd(t, upgradeCluster, name).Status.Phase, wfv1.WorkflowSucceeded)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

func testKubeletRefusesArgument(t *testing.T) {
	rollBack(t, "m1")
	before := upgradeCluster.VCluster
	defer func() { upgradeCluster.VCluster = before; setPolicy(t, nil); upgradeAll(t) }()
	upgradeCluster.VCluster = func(d map[string]any) {
		before(d)
		site.Set(d, "privateNodes.joinNode.nodeRegistration.kubeletExtraArgs",
			[]any{map[string]any{"name": "feature-gates", "value": "NoSuchGate=true"}})
	}
	setPolicy(t, nil)
	mustFail(t, upgradeCluster, "upgrade") // it brings the bundle
	w := mustFail(t, upgradeCluster, "upgrade", "dryRun=true")
	assertContains(t, step(t, w, "plan").Message, "does not start with the settings that it would have",
		"unrecognized feature gate: NoSuchGate")
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, "m1"))
}

func TestRetriedWorkflowsEndWhatTheyLeft(t *testing.T) {
	resetMachines(t, "m4")
	configure(t, site.Overrides{
		Limits:   map[string]any{"retryBudget": "2s"},
		Document: func(d map[string]any) { site.Set(d, "ssh.connectTimeout", "2s") },
	})
	for _, template := range []string{"join", "reconcile", "remove"} {
		t.Run(template, func(t *testing.T) {
			plug := unplug(t, "m4")
			w := mustFail(t, teamA(), template, "machines=m4")
			plug()
			if template != "join" {
				eventuallyReady(t, teamA(), "m4")
			}
			w = retry(t, teamA(), w.Name)
			assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
			if template == "join" {
				assertJoined(t, "m4")
			}
		})
	}
	resetMachines(t, "m4")
}
