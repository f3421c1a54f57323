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

// TestUpgradesThroughEveryFault takes a cluster up once, and its machines again and again.
func TestUpgradesThroughEveryFault(t *testing.T) {
	harbourStands(t)
	policy(t, map[string]any{"upgrade.controlPlaneGrace": "3s"})
	assert.Assert(t, waitedIn(upgraded(t, "version="+lab.Version), "grace"))
	policy(t, nil)
	t.Run("a budget that forbids it is named, and what the policy says is done", obeysItsDrainPolicy)
	t.Run("a machine that is down costs of the failure budget, and comes first afterwards", spendsItsBudget)
	t.Run("two that are submitted at once do the work once", excludesAnother)
	t.Run("a window that closes leaves the rest for the next run", keepsItsWindow)
	t.Run("a person stops it between two waves, or lets it go on", asksForApproval)
	t.Run("the latest patch is the newest that the registry has", findsTheLatestPatch)
	t.Run("by a schedule", followsItsSchedule)
	for _, phase := range []string{"drain", "kubeadm", "healthy"} {
		for _, fault := range slices.Sorted(maps.Keys(strikes)) {
			t.Run(fault+" in phase "+phase, func(t *testing.T) { survives(t, fault, phase) })
		}
	}
}

func spendsItsBudget(t *testing.T) {
	older(t, "m1", "m2")
	defer policy(t, nil)
	policy(t, map[string]any{"upgrade.maxUnavailable": 2, "upgrade.waveSize": 1, "upgrade.failureBudget": 1, "limits.retryBudget": "2s", "ssh.connectTimeout": "2s"})
	assert.NilError(t, the.Lab.Drop(t.Context(), "m1"))
	defer func() { assert.NilError(t, the.Lab.Undrop(context.Background(), "m1")) }()
	w := run(t, harbour.Provisioned, "upgrade")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	assert.Equal(t, stepOf(t, w, "m2").Phase, wfv1.NodeSucceeded)
	assert.NilError(t, the.Lab.Undrop(t.Context(), "m1"))
	soon(t, harbour.Provisioned, "True", "get", "node", "m1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	older(t, "m2")
	policy(t, nil)
	upgraded(t)
}

func excludesAnother(t *testing.T) {
	older(t, "m1")
	first := submitTo(t, harbour.Provisioned, "upgrade")
	second := submitTo(t, harbour.Provisioned, "upgrade")
	for _, name := range []string{first, second} {
		w := endOf(t, harbour.Provisioned, name)
		assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	}
	assert.Equal(t, kubelets(t), at(lab.Version))
}

func keepsItsWindow(t *testing.T) {
	older(t, "m1")
	w := succeeded(t, harbour.Provisioned, "upgrade", "window=1s")
	left := stepOf(t, w, "m1")
	assert.Equal(t, left.Phase, wfv1.NodeSkipped)
	assert.Assert(t, strings.Contains(left.Message, "the window closed at"), left.Message)
	assert.Equal(t, kubelets(t), at(lab.Version, "m1"))
}

// findsTheLatestPatch offers a patch that is in truth the version that the control plane runs, and so only plans.
func findsTheLatestPatch(t *testing.T) {
	const next = "v1.34.6"
	before := harbour.VCluster
	defer func() { harbour.VCluster = before; policy(t, nil) }()
	harbour.VCluster = func(d map[string]any) {
		before(d)
		site.Set(d, "controlPlane.distro.k8s.image.registry", lab.RegistryAddress)
	}
	policy(t, map[string]any{"registries.plainHTTP": []any{lab.RegistryAddress}})
	offered := retagged(t, "loft-sh/kubernetes", lab.Version+"-full", next+"-full")
	defer func() { assert.NilError(t, remote.Delete(offered)) }()
	message := step(t, succeeded(t, harbour.Provisioned, "upgrade", "version=latest-patch", "dryRun=true"), "plan").Message
	assert.Assert(t, strings.Contains(message, "the control plane goes from "+lab.Version+" to "+next), message)
}

// followsItsSchedule applies the CronWorkflow that users copy, to fire at each minute.
func followsItsSchedule(t *testing.T) {
	older(t, "m1")
	shows(t, autoUpgrade+"enabled")
	text, err := os.ReadFile(filepath.Join(the.Source, "workflows", "scheduled-upgrade.yaml"))
	assert.NilError(t, err)
	var cron wfv1.CronWorkflow
	assert.NilError(t, yaml.UnmarshalStrict(text, &cron))
	cron.Namespace, cron.Spec.Schedules = harbour.Name, []string{"* * * * *"}
	for i := range cron.Spec.WorkflowSpec.Arguments.Parameters {
		if parameter := &cron.Spec.WorkflowSpec.Arguments.Parameters[i]; parameter.Name == "cluster" {
			parameter.Value = wfv1.AnyStringPtr(harbour.Name)
		}
	}
	before := harbour.VCluster
	harbour.VCluster = func(d map[string]any) { before(d); site.Set(d, autoUpgrade+"enabled", false) }
	policy(t, nil)
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&cron)
	assert.NilError(t, err)
	delete(object, "status")
	assert.NilError(t, harbour.ApplyHost(t.Context(), object))
	remove := func() {
		_, err := harbour.Kubectl(context.Background(), "delete", "cronworkflow", "--all")
		assert.NilError(t, err)
	}
	defer remove()
	fired := func(after int) *wfv1.Workflow {
		var names []string
		eventually(t, "the schedule fires", func() bool {
			out, err := harbour.Kubectl(t.Context(), "get", "workflows", "-l", "workflows.argoproj.io/cron-workflow="+cron.Name, "--sort-by=.metadata.creationTimestamp", "-o", "name")
			names = strings.Fields(out)
			return err == nil && len(names) > after
		}, func() string { return strings.Join(names, " ") })
		return endOf(t, harbour.Provisioned, strings.TrimPrefix(names[after], "workflow.argoproj.io/"))
	}
	w := fired(0)
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, kubelets(t), at(lab.Version, "m1"), "autoUpgrade.enabled is false")

	harbour.VCluster = before
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
		name := submitTo(t, harbour.Provisioned, "upgrade")
		within(t, 2*patience, "the workflow asks", func() bool {
			out, err := harbour.Kubectl(t.Context(), "get", "workflow", name, "-o", `jsonpath={range .status.nodes.*}{.type} {.phase} {.displayName}{"\n"}{end}`)
			return err == nil && strings.Contains(out, "Suspend Running approve")
		}, func() string { return kubelets(t) })
		if decision != "" {
			_, err := harbour.Argo(t.Context(), "node", "set", name, "--output-parameter", "decision="+decision, "--node-field-selector", "displayName=approve")
			assert.NilError(t, err)
		}
		_, err := harbour.Argo(t.Context(), "resume", name, "--node-field-selector", "displayName=approve")
		assert.NilError(t, err)
		return endOf(t, harbour.Provisioned, name)
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
	inside(t, harbour.Provisioned, "patch", "pdb", "web", "--type=merge", "-p", `{"spec":{"minAvailable":3}}`)
	defer func() {
		inside(t, harbour.Provisioned, "patch", "pdb", "web", "--type=merge", "-p", `{"spec":{"minAvailable":2}}`)
	}()
	with := func(onTimeout string) *wfv1.Workflow {
		policy(t, map[string]any{"upgrade.rules": []any{map[string]any{"machines": "m1", "drainTimeout": "3s", "onDrainTimeout": onTimeout}}})
		return run(t, harbour.Provisioned, "upgrade")
	}
	w := with("stop")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowFailed, describe(w))
	message := stepOf(t, w, "m1").Message
	assert.Assert(t, strings.Contains(message, "of Deployment web (PDB web allows none") && strings.Contains(message, "node m1 takes pods again"), message)
	assert.Equal(t, kubelets(t), at(lab.Version, "m1"))

	w = with("skip")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, stepOf(t, w, "m1").Phase, wfv1.NodeSkipped)
	assert.Equal(t, kubelets(t), at(lab.Version, "m1"))

	w = with("force")
	assert.Equal(t, w.Status.Phase, wfv1.WorkflowSucceeded, describe(w))
	assert.Equal(t, kubelets(t), at(lab.Version))
}
