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
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"gotest.tools/v3/assert"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

// upgradedOnce makes the cluster and takes it up; the tests then take its machines back and up again.
func upgradedOnce(t *testing.T) {
	t.Helper()
	newUpgradeCluster(t)
	upgraded(t, "version="+lab.Version)
}

func TestAnUpgradeObeysItsPolicy(t *testing.T) {
	newUpgradeCluster(t)
	policy(t, map[string]any{"upgrade.controlPlaneGrace": "3s"})
	assert.Assert(t, waitedIn(upgraded(t, "version="+lab.Version), "grace"))
	policy(t, nil)
	t.Run("a canary that does not come up is put back, and nothing else is touched", haltsAfterItsCanary)
	t.Run("the one that failed first, two at a time, but for one that a label keeps out", upgradesTwoAtATime)
	t.Run("a budget that forbids it is named, and the policy decides", obeysItsDrainPolicy)
	t.Run("a machine that is down costs of the failure budget, and comes first afterwards", spendsItsBudget)
	t.Run("a person stops it between two waves, or lets it go on", asksForApproval)
}

func TestUpgradesAreSubmittedInEveryWay(t *testing.T) {
	upgradedOnce(t)
	t.Run("a machine whose sshd does not run, by a pod", upgradesByPod)
	t.Run("two that are submitted at once do the work once", excludesAnother)
	t.Run("a window that closes leaves the rest for the next run", keepsItsWindow)
	t.Run("the latest patch is the newest that the registry has", findsTheLatestPatch)
	t.Run("by a schedule", followsItsSchedule)
}

func TestAnUpgradeSurvivesFaultsWhileItDrains(t *testing.T)    { survivesAll(t, "drain") }
func TestAnUpgradeSurvivesFaultsWhileKubeadmRuns(t *testing.T) { survivesAll(t, "kubeadm") }
func TestAnUpgradeSurvivesFaultsWhileTheKubeletStarts(t *testing.T) {
	survivesAll(t, "healthy")
}

func survivesAll(t *testing.T, phase string) {
	upgradedOnce(t)
	for _, fault := range slices.Sorted(maps.Keys(strikes)) {
		t.Run(fault, func(t *testing.T) { survives(t, fault, phase) })
	}
}

func spendsItsBudget(t *testing.T) {
	older(t, "m1", "m2")
	defer policy(t, nil)
	policy(t, map[string]any{"upgrade.maxUnavailable": 2, "upgrade.waveSize": 1, "upgrade.failureBudget": 1,
		"limits.retryBudget": "2s", "ssh.connectTimeout": "2s"})
	assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), false))
	defer func() { assert.NilError(t, machineNamed(t, "m1").Connect(context.Background(), true)) }()
	w := run(t, upgradeCluster.Provisioned, "upgrade")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	assert.Equal(t, stepOf(t, w, "m2").Phase, wfv1.NodeSucceeded)
	assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), true))
	soon(t, upgradeCluster.Provisioned, "True", "get", "node", "m1", "-o",
		`jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	older(t, "m2")
	policy(t, nil)
	upgraded(t)
}

func excludesAnother(t *testing.T) {
	older(t, "m1")
	first := submitTo(t, upgradeCluster.Provisioned, "upgrade")
	second := submitTo(t, upgradeCluster.Provisioned, "upgrade")
	for _, name := range []string{first, second} {
		w := endOf(t, upgradeCluster.Provisioned, name)
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	}
	assert.Equal(t, kubelets(t), at(lab.Version))
}

func keepsItsWindow(t *testing.T) {
	older(t, "m1")
	w := succeeded(t, upgradeCluster.Provisioned, "upgrade", "window=1s")
	left := stepOf(t, w, "m1")
	assert.Equal(t, left.Phase, wfv1.NodeSkipped)
	assert.Assert(t, strings.Contains(left.Message, "the window closed at"), left.Message)
	assert.Equal(t, kubelets(t), at(lab.Version, "m1"))
}

// findsTheLatestPatch offers a patch that is in truth the version that the control plane runs, and so only plans.
func findsTheLatestPatch(t *testing.T) {
	const next = "v1.34.6"
	before := upgradeCluster.VCluster
	defer func() { upgradeCluster.VCluster = before; policy(t, nil) }()
	upgradeCluster.VCluster = func(d map[string]any) {
		before(d)
		site.Set(d, "controlPlane.distro.k8s.image.registry", lab.RegistryAddress)
	}
	policy(t, map[string]any{"registries.plainHTTP": []any{lab.RegistryAddress}})
	offered := retagged(t, "loft-sh/kubernetes", lab.Version+"-full", next+"-full")
	defer func() { assert.NilError(t, remote.Delete(offered)) }()
	message := step(t, succeeded(t, upgradeCluster.Provisioned, "upgrade", "version=latest-patch", "dryRun=true"),
		"plan").Message
	assert.Assert(t, strings.Contains(message, "the control plane goes from "+lab.Version+" to "+next), message)
}

// followsItsSchedule applies the CronWorkflow that users copy, to fire at each minute.
func followsItsSchedule(t *testing.T) {
	older(t, "m1")
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
	policy(t, nil)
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&cron)
	assert.NilError(t, err)
	delete(object, "status")
	assert.NilError(t, upgradeCluster.ApplyHost(t.Context(), object))
	remove := func() {
		_, err := upgradeCluster.Kubectl(context.Background(), "delete", "cronworkflow", "--all")
		assert.NilError(t, err)
	}
	defer remove()
	fired := func(after int) *wfv1.Workflow {
		var names []string
		eventually(t, "the schedule fires", func() bool {
			out, err := upgradeCluster.Kubectl(t.Context(), "get", "workflows", "-l",
				"workflows.argoproj.io/cron-workflow="+cron.Name, "--sort-by=.metadata.creationTimestamp", "-o", "name")
			names = strings.Fields(out)
			return err == nil && len(names) > after
		}, func() string { return strings.Join(names, " ") })
		return endOf(t, upgradeCluster.Provisioned, strings.TrimPrefix(names[after], "workflow.argoproj.io/"))
	}
	w := fired(0)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, kubelets(t), at(lab.Version, "m1"), "autoUpgrade.enabled is false")

	upgradeCluster.VCluster = before
	policy(t, nil)
	w = fired(1)
	remove()
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, kubelets(t), at(lab.Version))
}

func asksForApproval(t *testing.T) {
	older(t, "m1", "m2")
	defer policy(t, nil)
	policy(t, map[string]any{"upgrade.approval": "always", "upgrade.pause": "3s"})
	answered := func(decision string) *wfv1.Workflow {
		name := submitTo(t, upgradeCluster.Provisioned, "upgrade")
		within(t, 2*patience, "the workflow asks", func() bool {
			out, err := upgradeCluster.Kubectl(t.Context(), "get", "workflow", name, "-o",
				`jsonpath={range .status.nodes.*}{.type} {.phase} {.displayName}{"\n"}{end}`)
			return err == nil && strings.Contains(out, "Suspend Running approve")
		}, func() string { return kubelets(t) })
		if decision != "" {
			_, err := upgradeCluster.Argo(t.Context(), "node", "set", name, "--output-parameter", "decision="+decision,
				"--node-field-selector", "displayName=approve")
			assert.NilError(t, err)
		}
		_, err := upgradeCluster.Argo(t.Context(), "resume", name, "--node-field-selector", "displayName=approve")
		assert.NilError(t, err)
		return endOf(t, upgradeCluster.Provisioned, name)
	}
	w := answered("stop")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	assert.Assert(t, !waitedIn(w, "pause"), describe(w))
	assert.Equal(t, kubelets(t), at(lab.Version, "m2"))
	older(t, "m1", "m2")
	w = answered("")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Assert(t, waitedIn(w, "pause"), describe(w))
	assert.Equal(t, kubelets(t), at(lab.Version))
}

// waitedIn says whether a workflow was suspended by a step of this name, and went on.
func waitedIn(w *wfv1.Workflow, name string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(w.Status.Nodes)), func(node wfv1.NodeStatus) bool {
		return node.Type == wfv1.NodeTypeSuspend && node.DisplayName == name && node.Phase == wfv1.NodeSucceeded
	})
}

func obeysItsDrainPolicy(t *testing.T) {
	defer policy(t, nil)
	older(t, "m1")
	servesOn(t, "m1")
	inside(t, upgradeCluster.Provisioned, "patch", "pdb", "web", "--type=merge", "-p", `{"spec":{"minAvailable":3}}`)
	defer func() {
		inside(t, upgradeCluster.Provisioned, "patch", "pdb", "web", "--type=merge", "-p",
			`{"spec":{"minAvailable":2}}`)
	}()
	with := func(onTimeout string) *wfv1.Workflow {
		policy(t, map[string]any{"upgrade.rules": []any{map[string]any{"machines": "m1", "drainTimeout": "3s",
			"onDrainTimeout": onTimeout}}})
		return run(t, upgradeCluster.Provisioned, "upgrade")
	}
	w := with("stop")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	message := stepOf(t, w, "m1").Message
	assert.Assert(t, strings.Contains(message, "of Deployment web (PDB web allows none") &&
		strings.Contains(message, "node m1 takes pods again"), message)
	assert.Equal(t, kubelets(t), at(lab.Version, "m1"))

	w = with("skip")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, stepOf(t, w, "m1").Phase, wfv1.NodeSkipped)
	assert.Equal(t, kubelets(t), at(lab.Version, "m1"))

	w = with("force")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, kubelets(t), at(lab.Version))
}

func upgradesTwoAtATime(t *testing.T) {
	shows(t, autoUpgrade+"enabled", autoUpgrade+"concurrency", autoUpgrade+"nodeSelector")
	older(t, "m1", "m2", "m3")
	before := upgradeCluster.VCluster
	defer func() { upgradeCluster.VCluster = before; policy(t, nil) }()
	upgradeCluster.VCluster = func(d map[string]any) {
		before(d)
		site.Set(d, autoUpgrade+"enabled", false)
		site.Set(d, autoUpgrade+"concurrency", 2)
		site.Set(d, autoUpgrade+"nodeSelector", map[string]any{"pool": "upgraded"})
	}
	policy(t, nil)
	inside(t, upgradeCluster.Provisioned, "label", "node", "m1", "m2", "m3", "pool=upgraded")
	inside(t, upgradeCluster.Provisioned, "label", "node", "m3", "vcluster.loft.sh/skip-auto-upgrade=true")
	message := step(t, succeeded(t, upgradeCluster.Provisioned, "upgrade", "scheduled=true"), "plan").Message
	assert.Assert(t, strings.Contains(message, "0 of 3 machines"), "although autoUpgrade.enabled is false: %s", message)
	plan := step(t, succeeded(t, upgradeCluster.Provisioned, "upgrade"), "plan")
	assert.Assert(t, strings.Contains(plan.Message, "2 of 3 machines go to "+lab.Version+" in 1 waves"), plan.Message)
	waves := slices.IndexFunc(plan.Outputs.Parameters, func(p wfv1.Parameter) bool { return p.Name == "waves" })
	assert.Assert(t, strings.Contains(plan.Outputs.Parameters[waves].GetValue(), `["m2","m1"]`), plan.Outputs)
	assert.Equal(t, kubelets(t), at(lab.Version, "m3"))

	inside(t, upgradeCluster.Provisioned, "label", "node", "m3", "vcluster.loft.sh/skip-auto-upgrade-", "pool-")
	message = step(t, succeeded(t, upgradeCluster.Provisioned, "upgrade"), "plan").Message
	assert.Assert(t, strings.Contains(message, "0 of 3 machines"), message)
	inside(t, upgradeCluster.Provisioned, "label", "node", "m3", "pool=upgraded")
	upgraded(t)
}

func upgradesByPod(t *testing.T) {
	shows(t, autoUpgrade+"image", autoUpgrade+"imagePullPolicy",
		autoUpgrade+"podSecurityContext", autoUpgrade+"containerSecurityContext")
	older(t, "m1")
	before := upgradeCluster.VCluster
	image := own(t, "argosy-dev/executor-plugin", "v0.1.0")
	upgradeCluster.VCluster = func(d map[string]any) {
		before(d)
		site.Set(d, autoUpgrade+"image", image)
		site.Set(d, autoUpgrade+"imagePullPolicy", "Always")
		site.Set(d, autoUpgrade+"podSecurityContext", map[string]any{"fsGroup": 4711})
		site.Set(d, autoUpgrade+"containerSecurityContext",
			map[string]any{"privileged": true, "runAsUser": 0, "runAsGroup": 4712})
	}
	policy(t, map[string]any{"ssh.connectTimeout": "2s"})
	on(t, "m1", "systemctl", "stop", "ssh.service")
	defer func() {
		upgradeCluster.VCluster = before
		policy(t, nil)
		on(t, "m1", "systemctl", "start", "ssh.service")
	}()
	daemons := daemonsOn(t, "m1")
	name := submitTo(t, upgradeCluster.Provisioned, "upgrade")
	const container, context = ".spec.containers[0]", ".spec.containers[0].securityContext"
	soon(t, upgradeCluster.Provisioned, image+" Always 4711 true 4712",
		"get", "pods", "-n", "kube-system", "-l", "argosy.dev/works-on-node", "--field-selector=spec.nodeName=m1",
		"-o", "jsonpath={range .items[*]}{"+container+".image} {"+container+
			".imagePullPolicy} {.spec.securityContext.fsGroup} {"+context+".privileged} {"+context+".runAsGroup}{end}")
	w := endOf(t, upgradeCluster.Provisioned, name)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, kubelets(t), at(lab.Version))
	assert.Assert(t, strings.Contains(stepOf(t, w, "m1").Message, "containerd"), "containerd was not restarted")
	assert.Equal(t, daemonsOn(t, "m1"), daemons, "what a drain leaves there runs on")
	left := inside(t, upgradeCluster.Provisioned,
		"get", "pods", "-n", "kube-system", "-l", "argosy.dev/works-on-node", "-o", "name")
	assert.Equal(t, left, "", "the pod is left over")
}

// daemonsOn are the containers of a node's DaemonSets.
func daemonsOn(t *testing.T, machine string) string {
	t.Helper()
	containers := inside(t, upgradeCluster.Provisioned, "get", "pods", "-A", "--field-selector=spec.nodeName="+machine,
		"-o",
		`jsonpath={range .items[?(@.metadata.ownerReferences[0].kind=="DaemonSet")]}{.metadata.name} `+
			`{.status.containerStatuses[*].containerID} {.status.containerStatuses[*].restartCount}{"\n"}{end}`)
	assert.Assert(t, strings.Contains(containers, "containerd://"), containers)
	return containers
}

// servesOn spreads the workload over all nodes again, with one of its pods on machine: evicted pods stay on their new
// nodes.
func servesOn(t *testing.T, machine string) {
	t.Helper()
	inside(t, upgradeCluster.Provisioned, "rollout", "restart", "deployment/web")
	inside(t, upgradeCluster.Provisioned, "rollout", "status", "deployment/web", "--timeout="+patience.String())
	pods := inside(t, upgradeCluster.Provisioned,
		"get", "pods", "-l", "app=web", "--field-selector=spec.nodeName="+machine, "-o", "name")
	assert.Assert(t, pods != "")
}

// survives strikes while a machine is in a phase of its upgrade. The upgrade must end well, by itself or by the next
// submit, and no node may stay cordoned once the workflow is over.
func survives(t *testing.T, fault, phase string) {
	older(t, "m1")
	servesOn(t, "m1")
	name := submitTo(t, upgradeCluster.Provisioned, "upgrade")
	reachesInUpgrade(t, name, phase)
	strikes[fault](t, name)
	w := endOf(t, upgradeCluster.Provisioned, name)
	soon(t, upgradeCluster.Provisioned, "takes pods",
		"get", "node", "m1", "-o", `go-template={{if not .spec.unschedulable}}takes pods{{end}}`)
	if w.Status.Phase != wfv1.WorkflowSucceeded {
		t.Logf("ended as %s: %s", w.Status.Phase, stepOf(t, w, "m1").Message)
		upgraded(t)
	}
	assert.Equal(t, kubelets(t), at(lab.Version))
}

// reachesInUpgrade waits until m1 is in a phase: drain is the plugin's, the others are the machine's own.
func reachesInUpgrade(t *testing.T, name, phase string) {
	t.Helper()
	if phase != "drain" {
		reaches(t, "m1", phase)
		return
	}
	eventually(t, "node m1 is drained", func() bool {
		out, err := upgradeCluster.Inside(t.Context(), "get", "pods", "--field-selector=spec.nodeName=m1",
			"-o", `jsonpath={.items[*].metadata.deletionTimestamp}`)
		return err == nil && out != ""
	}, func() string { return describe(nil) })
}

// strikes are what must be survived in the middle of an upgrade of m1.
var strikes = map[string]func(t *testing.T, workflow string){
	"the agent pod is deleted": func(t *testing.T, workflow string) {
		_, err := upgradeCluster.Kubectl(t.Context(), "delete", "pod", "-l",
			"workflows.argoproj.io/workflow="+workflow+",workflows.argoproj.io/component=agent", "--wait=false")
		assert.NilError(t, err)
	},
	"the sidecar is killed with SIGKILL": func(t *testing.T, _ string) {
		on(t, "host", "pkill", "-KILL", "-f", "^/executor-plugin serve")
	},
	"the machine is rebooted": func(t *testing.T, _ string) {
		assert.NilError(t, machineNamed(t, "m1").Reboot(t.Context()))
	},
	"the connection is cut for 30 s": func(t *testing.T, _ string) {
		assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), false))
		t.Cleanup(func() { _ = machineNamed(t, "m1").Connect(context.Background(), true) })
		time.Sleep(30 * time.Second)
		assert.NilError(t, machineNamed(t, "m1").Connect(t.Context(), true))
	},
	"the API server is restarted": func(t *testing.T, _ string) {
		_, err := upgradeCluster.Kubectl(t.Context(), "delete", "pod", upgradeCluster.Name+"-control-plane-0",
			"--wait=false")
		assert.NilError(t, err)
	},
	"the workflow is terminated": func(t *testing.T, workflow string) {
		_, err := upgradeCluster.Argo(t.Context(), "terminate", workflow)
		assert.NilError(t, err)
	},
}
