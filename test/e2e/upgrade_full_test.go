//go:build full

package e2e_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gotest.tools/v3/assert"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// newUpgradedCluster makes the cluster and upgrades it. The tests then roll machines back and upgrade them again.
func newUpgradedCluster(t *testing.T) {
	t.Helper()
	newUpgradeCluster(t)
	upgradeAll(t, "version="+lab.Version)
}

func TestUpgradeFollowsPolicy(t *testing.T) {
	newUpgradeCluster(t)
	setPolicy(t, map[string]any{"upgrade.controlPlaneGrace": "3s"})
	assert.Assert(t, waitedIn(upgradeAll(t, "version="+lab.Version), "grace"))
	setPolicy(t, nil)
	t.Run("a failed canary is rolled back and halts the upgrade", testCanaryHaltsUpgrade)
	t.Run("two at a time, without the machine excluded by label", testTwoAtATime)
	t.Run("the drain policy decides about a blocking disruption budget", testDrainPolicy)
	t.Run("an unreachable machine counts against the failure budget", testFailureBudget)
	t.Run("a person stops or continues it between waves", testApproval)
}

func TestUpgradeStartsInEveryWay(t *testing.T) {
	newUpgradedCluster(t)
	t.Run("a machine without sshd, through a pod", testUpgradeByPod)
	t.Run("two runs at once upgrade once", testTwoUpgradesAtOnce)
	t.Run("a closed window leaves machines for the next run", testWindow)
	t.Run("latest-patch is the newest version in the registry", testLatestPatch)
	t.Run("on a schedule", testSchedule)
}

func TestUpgradeSurvivesFaultsDuringDrain(t *testing.T)   { surviveFaults(t, "drain") }
func TestUpgradeSurvivesFaultsDuringKubeadm(t *testing.T) { surviveFaults(t, "kubeadm") }
func TestUpgradeSurvivesFaultsDuringKubeletStart(t *testing.T) {
	surviveFaults(t, "healthy")
}

func surviveFaults(t *testing.T, phase string) {
	newUpgradedCluster(t)
	for _, fault := range upgradeFaults() {
		t.Run(fault.name, func(t *testing.T) { surviveFault(t, fault, phase) })
	}
}

func testFailureBudget(t *testing.T) {
	rollBack(t, "m1", "m2")
	defer setPolicy(t, nil)
	setPolicy(t, map[string]any{
		"upgrade.maxUnavailable": 2, "upgrade.waveSize": 1, "upgrade.failureBudget": 1,
		"limits.retryBudget": "2s", "ssh.connectTimeout": "2s",
	})
	assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), false))
	defer func() { assert.NilError(t, machineNamed(t, "m1").Connect(context.Background(), true)) }()
	w := mustFail(t, upgradeCluster, "upgrade")
	assert.Equal(t, step(t, w, "m2").Phase, wfv1.NodeSucceeded)
	assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), true))
	eventuallyReady(t, upgradeCluster, "m1")
	rollBack(t, "m2")
	setPolicy(t, nil)
	upgradeAll(t)
}

func testTwoUpgradesAtOnce(t *testing.T) {
	rollBack(t, "m1")
	first := submit(t, upgradeCluster, "upgrade")
	second := submit(t, upgradeCluster, "upgrade")
	for _, name := range []string{first, second} {
		w := waitForEnd(t, upgradeCluster, name)
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
	}
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

func testWindow(t *testing.T) {
	rollBack(t, "m1")
	w := mustSucceed(t, upgradeCluster, "upgrade", "window=1s")
	left := step(t, w, "m1")
	assert.Equal(t, left.Phase, wfv1.NodeSkipped)
	assertContains(t, left.Message, "the window closed at")
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, "m1"))
}

// testLatestPatch offers the running version under the name of a later patch, and so only plans.
func testLatestPatch(t *testing.T) {
	const next = "v1.37.99"
	before := upgradeCluster.VCluster
	defer func() { upgradeCluster.VCluster = before; setPolicy(t, nil) }()
	upgradeCluster.VCluster = func(d map[string]any) {
		before(d)
		site.Set(d, "controlPlane.distro.k8s.image.registry", lab.RegistryAddress)
	}
	setPolicy(t, map[string]any{"registries.plainHTTP": []any{lab.RegistryAddress}})
	offered := retag(t, "loft-sh/kubernetes", lab.Version+"-full", next+"-full")
	defer func() { assert.NilError(t, remote.Delete(offered)) }()
	message := step(t, mustSucceed(t, upgradeCluster, "upgrade", "version=latest-patch", "dryRun=true"),
		"plan").Message
	assertContains(t, message, "the control plane goes from "+lab.Version+" to "+next)
}

// testSchedule applies the CronWorkflow that users copy, to run each minute.
func testSchedule(t *testing.T) {
	rollBack(t, "m1")
	shows(t, autoUpgrade+"enabled")
	text, err := os.ReadFile(filepath.Join(env.Source, "workflows", "scheduled-upgrade.yaml"))
	assert.NilError(t, err)
	var cron wfv1.CronWorkflow
	assert.NilError(t, yaml.UnmarshalStrict(text, &cron))
	cron.Namespace, cron.Spec.Schedules = upgradeCluster.Name, []string{"* * * * *"}
	for i := range cron.Spec.WorkflowSpec.Arguments.Parameters {
		if parameter := &cron.Spec.WorkflowSpec.Arguments.Parameters[i]; parameter.Name == "cluster" {
			parameter.Value = wfv1.AnyStringPtr(upgradeCluster.Name)
		}
	}
	before := upgradeCluster.VCluster
	upgradeCluster.VCluster = func(d map[string]any) { before(d); site.Set(d, autoUpgrade+"enabled", false) }
	setPolicy(t, nil)
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&cron)
	assert.NilError(t, err)
	delete(object, "status")
	assert.NilError(t, upgradeCluster.HostApply(t.Context(), object))
	remove := func() {
		_, err := upgradeCluster.HostKubectl(context.Background(), "delete", "cronworkflow", "--all")
		assert.NilError(t, err)
	}
	defer remove()
	fired := func(after int) *wfv1.Workflow {
		var names []string
		eventually(t, "the schedule fires", func() bool {
			out, err := upgradeCluster.HostKubectl(t.Context(), "get", "workflows", "-l",
				"workflows.argoproj.io/cron-workflow="+cron.Name, "--sort-by=.metadata.creationTimestamp", "-o", "name")
			names = strings.Fields(out)
			return err == nil && len(names) > after
		}, func() string { return strings.Join(names, " ") })
		return waitForEnd(t, upgradeCluster, strings.TrimPrefix(names[after], "workflow.argoproj.io/"))
	}
	w := fired(0)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, "m1"), "autoUpgrade.enabled is false")

	upgradeCluster.VCluster = before
	setPolicy(t, nil)
	w = fired(1)
	remove()
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

func testApproval(t *testing.T) {
	rollBack(t, "m1", "m2")
	defer setPolicy(t, nil)
	setPolicy(t, map[string]any{"upgrade.approval": "always", "upgrade.pause": "3s"})
	answered := func(decision string) *wfv1.Workflow {
		name := submit(t, upgradeCluster, "upgrade")
		eventuallyWithin(t, 2*patience, "the workflow asks", func() bool {
			out, err := upgradeCluster.HostKubectl(t.Context(), "get", "workflow", name, "-o",
				`jsonpath={range .status.nodes.*}{.type} {.phase} {.displayName}{"\n"}{end}`)
			return err == nil && strings.Contains(out, "Suspend Running approve")
		}, func() string { return nodeVersions(t) })
		if decision != "" {
			_, err := upgradeCluster.Argo(t.Context(), "node", "set", name, "--output-parameter", "decision="+decision,
				"--node-field-selector", "displayName=approve")
			assert.NilError(t, err)
		}
		_, err := upgradeCluster.Argo(t.Context(), "resume", name, "--node-field-selector", "displayName=approve")
		assert.NilError(t, err)
		return waitForEnd(t, upgradeCluster, name)
	}
	w := answered("stop")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
	assert.Assert(t, !waitedIn(w, "pause"), describe(w))
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, "m2"))
	rollBack(t, "m1", "m2")
	w = answered("")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
	assert.Assert(t, waitedIn(w, "pause"), describe(w))
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

// waitedIn reports whether a workflow was suspended by a step of this name and went on.
func waitedIn(w *wfv1.Workflow, name string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(w.Status.Nodes)), func(node wfv1.NodeStatus) bool {
		return node.Type == wfv1.NodeTypeSuspend && node.DisplayName == name && node.Phase == wfv1.NodeSucceeded
	})
}

func testDrainPolicy(t *testing.T) {
	defer setPolicy(t, nil)
	rollBack(t, "m1")
	spreadWorkload(t, "m1")
	kubectl(t, upgradeCluster, "patch", "pdb", "web", "--type=merge", "-p", `{"spec":{"minAvailable":3}}`)
	defer func() {
		kubectl(t, upgradeCluster, "patch", "pdb", "web", "--type=merge", "-p",
			`{"spec":{"minAvailable":2}}`)
	}()
	with := func(onTimeout string) *wfv1.Workflow {
		setPolicy(t, map[string]any{"upgrade.rules": []any{map[string]any{
			"machines": "m1", "drainTimeout": "3s",
			"onDrainTimeout": onTimeout,
		}}})
		return run(t, upgradeCluster, "upgrade")
	}
	w := with("stop")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed)
	message := step(t, w, "m1").Message
	assertContains(t, message, "of Deployment web (PDB web allows none", "node m1 is uncordoned")
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, "m1"))

	w = with("skip")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
	assert.Equal(t, step(t, w, "m1").Phase, wfv1.NodeSkipped)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, "m1"))

	w = with("force")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

func testTwoAtATime(t *testing.T) {
	shows(t, autoUpgrade+"enabled", autoUpgrade+"concurrency", autoUpgrade+"nodeSelector")
	rollBack(t, "m1", "m2", "m3")
	before := upgradeCluster.VCluster
	defer func() { upgradeCluster.VCluster = before; setPolicy(t, nil) }()
	upgradeCluster.VCluster = func(d map[string]any) {
		before(d)
		site.Set(d, autoUpgrade+"enabled", false)
		site.Set(d, autoUpgrade+"concurrency", 2)
		site.Set(d, autoUpgrade+"nodeSelector", map[string]any{"pool": "upgraded"})
	}
	setPolicy(t, nil)
	kubectl(t, upgradeCluster, "label", "node", "m1", "m2", "m3", "pool=upgraded")
	kubectl(t, upgradeCluster, "label", "node", "m3", "vcluster.loft.sh/skip-auto-upgrade=true")
	message := step(t, mustSucceed(t, upgradeCluster, "upgrade", "scheduled=true"), "plan").Message
	assert.Assert(t, strings.Contains(message, "0 of 3 machines"), "although autoUpgrade.enabled is false: %s", message)
	plan := step(t, mustSucceed(t, upgradeCluster, "upgrade"), "plan")
	assertContains(t, plan.Message, "2 of 3 machines go to "+lab.Version+" in 1 wave")
	waves := slices.IndexFunc(plan.Outputs.Parameters, func(p wfv1.Parameter) bool { return p.Name == "waves" })
	assert.Assert(t, strings.Contains(plan.Outputs.Parameters[waves].GetValue(), `["m2","m1"]`), plan.Outputs)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version, "m3"))

	kubectl(t, upgradeCluster, "label", "node", "m3", "vcluster.loft.sh/skip-auto-upgrade-", "pool-")
	message = step(t, mustSucceed(t, upgradeCluster, "upgrade"), "plan").Message
	assertContains(t, message, "0 of 3 machines")
	kubectl(t, upgradeCluster, "label", "node", "m3", "pool=upgraded")
	upgradeAll(t)
}

func testUpgradeByPod(t *testing.T) {
	shows(t, autoUpgrade+"image", autoUpgrade+"imagePullPolicy",
		autoUpgrade+"podSecurityContext", autoUpgrade+"containerSecurityContext")
	rollBack(t, "m1")
	before := upgradeCluster.VCluster
	image := retagAsOwn(t, "argosy-dev/executor-plugin", "v0.1.0")
	upgradeCluster.VCluster = func(d map[string]any) {
		before(d)
		site.Set(d, autoUpgrade+"image", image)
		site.Set(d, autoUpgrade+"imagePullPolicy", "Always")
		site.Set(d, autoUpgrade+"podSecurityContext", map[string]any{"fsGroup": 4711})
		site.Set(d, autoUpgrade+"containerSecurityContext",
			map[string]any{"privileged": true, "runAsUser": 0, "runAsGroup": 4712})
	}
	setPolicy(t, map[string]any{"ssh.connectTimeout": "2s"})
	runOn(t, "m1", "systemctl", "stop", "ssh.service")
	defer func() {
		upgradeCluster.VCluster = before
		setPolicy(t, nil)
		runOn(t, "m1", "systemctl", "start", "ssh.service")
	}()
	daemons := daemonsOn(t, "m1")
	name := submit(t, upgradeCluster, "upgrade")
	const container, context = ".spec.containers[0]", ".spec.containers[0].securityContext"
	eventuallyPrints(t, upgradeCluster, image+" Always 4711 true 4712",
		"get", "pods", "-n", "kube-system", "-l", "argosy.dev/works-on-node", "--field-selector=spec.nodeName=m1",
		"-o", "jsonpath={range .items[*]}{"+container+".image} {"+container+
			".imagePullPolicy} {.spec.securityContext.fsGroup} {"+context+".privileged} {"+context+".runAsGroup}{end}")
	w := waitForEnd(t, upgradeCluster, name)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded)
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
	assert.Assert(t, strings.Contains(step(t, w, "m1").Message, "containerd"), "containerd was not restarted")
	assert.Equal(t, daemonsOn(t, "m1"), daemons, "what a drain leaves there runs on")
	left := kubectl(t, upgradeCluster,
		"get", "pods", "-n", "kube-system", "-l", "argosy.dev/works-on-node", "-o", "name")
	assert.Equal(t, left, "", "the pod is left over")
}

// daemonsOn returns the containers of a node's DaemonSets, with their restarts.
func daemonsOn(t *testing.T, machine string) string {
	t.Helper()
	containers := kubectl(t, upgradeCluster, "get", "pods", "-A", "--field-selector=spec.nodeName="+machine,
		"-o",
		`jsonpath={range .items[?(@.metadata.ownerReferences[0].kind=="DaemonSet")]}{.metadata.name} `+
			`{.status.containerStatuses[*].containerID} {.status.containerStatuses[*].restartCount}{"\n"}{end}`)
	assertContains(t, containers, "containerd://")
	return containers
}

// spreadWorkload distributes the workload over all nodes again, with a pod on machine: evicted pods stay on their new
// nodes.
func spreadWorkload(t *testing.T, machine string) {
	t.Helper()
	kubectl(t, upgradeCluster, "rollout", "restart", "deployment/web")
	kubectl(t, upgradeCluster, "rollout", "status", "deployment/web", "--timeout="+patience.String())
	pods := kubectl(t, upgradeCluster,
		"get", "pods", "-l", "app=web", "--field-selector=spec.nodeName="+machine, "-o", "name")
	assert.Assert(t, pods != "")
}

// surviveFault injects a fault while m1 is in a phase of its upgrade. The upgrade must succeed, by itself or by the
// next submit, and no node may stay cordoned after the workflow.
func surviveFault(t *testing.T, injected fault, phase string) {
	rollBack(t, "m1")
	spreadWorkload(t, "m1")
	name := submit(t, upgradeCluster, "upgrade")
	waitForUpgradePhase(t, name, phase)
	injected.inject(t, name)
	w := waitForEnd(t, upgradeCluster, name)
	eventuallyPrints(t, upgradeCluster, "takes pods",
		"get", "node", "m1", "-o", `go-template={{if not .spec.unschedulable}}takes pods{{end}}`)
	if w.Status.Phase != wfv1.WorkflowSucceeded {
		t.Logf("ended as %s: %s", w.Status.Phase, step(t, w, "m1").Message)
		upgradeAll(t)
	}
	assert.Equal(t, nodeVersions(t), versionsWith(lab.Version))
}

// waitForUpgradePhase waits until m1 is in a phase. The plugin drains; the other phases are the machine's own.
func waitForUpgradePhase(t *testing.T, name, phase string) {
	t.Helper()
	if phase != "drain" {
		waitForPhase(t, "m1", phase)
		return
	}
	var deleted string
	eventually(t, "node m1 is drained", func() (drained bool) {
		var err error
		deleted, err = upgradeCluster.Kubectl(t.Context(), "get", "pods", "--field-selector=spec.nodeName=m1",
			"-o", `jsonpath={.items[*].metadata.deletionTimestamp}`)
		return err == nil && deleted != ""
	}, func() string { return "no pod is being deleted: " + deleted })
}

// upgradeFaults returns the faults that are injected while m1 is upgraded.
func upgradeFaults() []fault {
	return append(faultsOf(upgradeCluster), fault{"the API server is restarted", func(t *testing.T, _ string) {
		hostKubectl(t, upgradeCluster, "delete", "pod", upgradeCluster.Name+"-control-plane-0", "--wait=false")
	}})
}
