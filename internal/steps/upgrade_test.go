package steps

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// upgraderOf returns an upgrader of four machines, whose control plane runs v1.34.4, at a version.
func upgraderOf(t *testing.T, version, settings string) *upgrade.Upgrader {
	t.Helper()
	fleet := "apiVersion: argosy.dev/v1alpha1\nkind: Fleet\ncluster: {kubeconfigSecret: kubeconfig}\n" + settings +
		"\nmachines:\n"
	for i := range 4 {
		fleet += fmt.Sprintf("  - {name: m%d, address: 192.0.2.%d}\n", i+1, i+1)
	}
	cluster, err := config.Parse("team-a", []byte("privateNodes: {enabled: true}\n"), []byte(fleet))
	assert.NilError(t, err)
	return &upgrade.Upgrader{Joiner: &join.Joiner{
		Cluster: cluster, Version: version, Target: &join.Target{Version: "v1.34.4"},
	}}
}

func TestAMachinesStepChecksTheVersionAgain(t *testing.T) {
	for version, says := range map[string]string{
		"v1.34.4": "", "v1.33.13": "", "v1.35.8": "ahead of the control plane", "v2.0.0": "another major version",
		"v1": "reading target version",
	} {
		err := checkAgain(t.Context(), upgraderOf(t, version, ""), &rollout.Plan{})
		if says == "" {
			assert.NilError(t, err, version)
			continue
		}
		assert.ErrorContains(t, err, says, version)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
}

// While the rollout waited for a person, the cluster was restored at an earlier version.
func TestAMachinesStepAsksForTheControlPlanesPresentVersion(t *testing.T) {
	u := upgraderOf(t, "v1.34.4", "")
	u.ServerVersion = func(context.Context) (string, error) { return "v1.33.13", nil }
	err := checkAgain(t.Context(), u, &rollout.Plan{})
	assert.ErrorContains(t, err, "v1.34.4 is ahead of the control plane, which runs v1.33.13")
}

func TestAForgedPlanIsBoundByThePolicy(t *testing.T) {
	u := upgraderOf(t, "v1.34.4", "upgrade: {maxUnavailable: 50%, failureBudget: 1}")
	forged := rollout.Plan{MaxUnavailable: 4, FailureBudget: 4}
	assert.NilError(t, checkAgain(t.Context(), u, &forged))
	assert.DeepEqual(t, forged, rollout.Plan{MaxUnavailable: 2, FailureBudget: 1})
	made := rollout.Plan{MaxUnavailable: 1}
	assert.NilError(t, checkAgain(t.Context(), u, &made))
	assert.DeepEqual(t, made, rollout.Plan{MaxUnavailable: 1})
}

func TestEveryStepOfAnUpgradeReadsItsBooleans(t *testing.T) {
	opened := 0
	env := NewEnv(Openers{Upgrade: func(context.Context, string, string) (*upgrade.Upgrader, error) {
		opened++
		return upgraderOf(t, "v1.34.4", ""), nil
	}}, slog.New(slog.DiscardHandler))
	object := `{"step": "upgrade-clean", "cluster": "a", "scheduled": "SCHEDULED"}`
	for _, scheduled := range []string{"false", "maybe"} {
		call, err := plugin.NewCall(plugin.Workflow{UID: "u"}, "t",
			[]byte(strings.Replace(object, "SCHEDULED", scheduled, 1)))
		assert.NilError(t, err)
		_, err = env.upgrader(t.Context(), call, upgradeInput{Cluster: "a", Scheduled: scheduled})
		if scheduled == "false" {
			assert.NilError(t, err)
			continue
		}
		assert.ErrorContains(t, err, `"scheduled" is "maybe"`)
	}
	assert.Equal(t, opened, 1)
}

// The steps of the exit handler get the parameter as the user wrote it.
func TestEveryStepTakesAVersionWithoutItsV(t *testing.T) {
	for text, want := range map[string]string{
		"v1.33.13": "v1.33.13", "1.33.13": "v1.33.13", "control-plane": "v1.34.4", "": "v1.34.4",
	} {
		env := NewEnv(Openers{Upgrade: func(context.Context, string, string) (*upgrade.Upgrader, error) {
			return upgraderOf(t, "v1.34.4", ""), nil
		}}, slog.New(slog.DiscardHandler))
		call, err := plugin.NewCall(plugin.Workflow{UID: "u"}, "t", []byte(`{"step": "upgrade-clean", "cluster": "a"}`))
		assert.NilError(t, err)
		u, err := env.upgrader(t.Context(), call, upgradeInput{Cluster: "a", Version: text})
		assert.NilError(t, err)
		assert.Equal(t, u.Version, want)
	}
}

func TestAnAbortFailsTheWorkflowOfARollback(t *testing.T) {
	for left, phase := range map[string]plugin.Phase{
		"": plugin.Succeeded, rollout.ReasonAborted: plugin.Failed, "the rollback of m1 failed": plugin.Skipped,
	} {
		assert.Equal(t, rollbackPhase(left), phase, left)
	}
}

// A template compares the text of these parameters: an empty one would skip the backup, or all that was planned.
func TestAPlanRefusesAnythingButTrueAndFalse(t *testing.T) {
	env := NewEnv(Openers{}, slog.New(slog.DiscardHandler))
	for step, names := range map[plugin.Step][]string{
		planStep{env}: {"dryRun"}, removePlanStep{env}: {"dryRun"}, resetPlanStep{env}: {"dryRun"},
		imagesPlanStep{env}: {"dryRun"}, reconcilePlanStep{env}: {"dryRun"}, rollbackPlanStep{env}: {"dryRun"},
		upgradePlanStep{env}: {"dryRun", "backup"},
	} {
		for _, name := range names {
			for text, refused := range map[string]bool{
				"true": false, "false": false, "": true, "yes": true,
				"True": true,
			} {
				call, err := plugin.NewCall(plugin.Workflow{UID: "u"}, "t",
					fmt.Appendf(nil, `{"step": %q, "cluster": "a", "machines": "m1", %q: %q}`, step.Name(), name, text))
				assert.NilError(t, err)
				_, err = step.Prepare(call)
				if refused {
					assert.ErrorContains(t, err, fmt.Sprintf("the parameter %q is %q: give true or false", name, text))
					continue
				}
				assert.NilError(t, err, "%s %s=%q", step.Name(), name, text)
			}
		}
	}
}

func TestAnEmptyParameterKeepsTheDataOfACluster(t *testing.T) {
	for text, keeps := range map[string]bool{"": true, "true": true, "false": false} {
		options, err := deprovisionInput{Machines: "keep", KeepVolumes: text, FinalBackup: text}.options()
		assert.NilError(t, err)
		assert.Equal(t, options.KeepVolumes, keeps, text)
		assert.Equal(t, options.FinalBackup, keeps, text)
	}
}
