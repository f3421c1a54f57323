// Package workflows_test checks the templates of this folder against the plugin that serves them, and the examples that
// users copy against the templates. A mismatch shows in no lint: an output that a template declares and the plugin does
// not answer leaves its workflow running for ever.
package workflows_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones, also where the system has none

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/template"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/plugin"
	"argosy.dev/argosy/internal/steps"
)

// values are the values that Argo would fill in for the expressions in plugin objects, beside the templates' own
// defaults.
var values = map[string]string{
	"node.name":                          "join-x[0].plan",
	"retries":                            "0",
	"workflow.status":                    "Succeeded",
	"workflow.parameters.cluster":        "team-a",
	"workflow.parameters.user":           "alice",
	"workflow.parameters.machines":       "m1",
	"inputs.parameters.machine":          "m1",
	"inputs.parameters.groups":           "",
	"inputs.parameters.version":          "v1.34.4",
	"workflow.creationTimestamp.RFC3339": "2026-01-02T03:04:05Z",
	"inputs.parameters.rollout":          `{"waves":[{"name":"1","machines":["m1"]}],"maxUnavailable":1}`,
	"inputs.parameters.wave":             "1",
	"inputs.parameters.run":              "2026-01-02T03:04:05Z",
	"inputs.parameters.clusterGone":      "false",
	"inputs.parameters.removeVolumes":    "false",
}

var expression = regexp.MustCompile(`{{([^}]*)}}`)

func TestEveryPluginTemplateNamesAStepWithItsOutputs(t *testing.T) {
	known := map[string]plugin.Step{}
	for _, step := range steps.All(steps.NewEnv(steps.Openers{}, nil), nil, nil) {
		known[step.Name()] = step
	}
	asked := map[string]bool{}
	for file, template := range templates(t) {
		for _, tmpl := range template.Spec.Templates {
			if tmpl.Plugin == nil {
				continue
			}
			t.Run(filepath.Base(file)+"/"+tmpl.Name, func(t *testing.T) {
				call := callOf(t, template, tmpl)
				step, ok := known[call.Step]
				assert.Assert(t, ok, "there is no step %q", call.Step)
				asked[call.Step] = true
				assert.Equal(t, call.Node, values["node.name"], `every plugin object needs node: "{{node.name}}"`)
				assert.Equal(t, call.APIVersion, plugin.APIVersion,
					"every plugin object needs apiVersion: "+plugin.APIVersion)
				assert.Equal(t, call.Attempt != "", tmpl.RetryStrategy != nil,
					"attempts of one step must differ, and only they")
				_, err := step.Prepare(call)
				assert.NilError(t, err)
				assert.DeepEqual(t, declared(t, tmpl), step.Outputs())
			})
		}
	}
	assert.Equal(t, len(asked), len(known), "a step that no template asks for")
}

func TestEveryTemplateCanBeSubmittedByItself(t *testing.T) {
	for file, template := range templates(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			assert.Equal(t, template.Name+".yaml", filepath.Base(file))
			spec := template.Spec
			assert.Equal(t, spec.ServiceAccountName, "argosy-workflow")
			assert.DeepEqual(t, locks(spec.Synchronization), mutexes(template.Name))
			for _, tmpl := range spec.Templates {
				var own []string
				if template.Name == "upgrade" {
					own = rolloutLocks[tmpl.Name]
				}
				assert.DeepEqual(t, locks(tmpl.Synchronization), own)
			}
			for _, parameter := range spec.Arguments.Parameters {
				assert.Assert(t, parameter.Description != nil, "parameter %q has no description", parameter.Name)
				assert.Assert(t, parameter.Value != nil || required(template.Name, parameter.Name),
					"parameter %q has no default", parameter.Name)
			}
		})
	}
}

// A restore makes the control plane at the archive's version where the documents have an earlier one. What follows must
// not go by the documents.
func TestARestoreGoesOnAtTheVersionThatItRestored(t *testing.T) {
	restore := templates(t)["restore.yaml"]
	for _, group := range restore.GetTemplateByName("main").Steps[1:] {
		step := group.Steps[0]
		assert.Equal(t, step.Arguments.GetParameterByName("version").Value.String(),
			"{{steps.restore.outputs.parameters.version}}", step.Name)
		var in struct {
			Cluster string `json:"cluster"`
			Version string `json:"version"`
		}
		call := callOf(t, restore, *restore.GetTemplateByName(step.Template))
		assert.NilError(t, call.Decode(&in))
		assert.Equal(t, in.Version, values["inputs.parameters.version"], step.Name)
	}
}

// locks are the names of mutexes, without the prefix that all have.
func locks(synchronization *wfv1.Synchronization) []string {
	var names []string
	if synchronization == nil {
		return nil
	}
	for _, mutex := range synchronization.Mutexes {
		names = append(names, strings.TrimPrefix(mutex.Name, "argosy-{{workflow.parameters.cluster}}"))
	}
	return names
}

// rolloutLocks are the mutexes of the templates of an upgrade, beside that which keeps other rollouts waiting.
var rolloutLocks = map[string][]string{
	"plan": {""}, "backup": {"_control-plane"}, "control-plane": {"", "_control-plane"},
	"addons": {"", "_control-plane"}, "wave": {""}, "verify": {""}, "clean": {""},
}

// mutexes are those that a workflow holds while it lives. One that waits for a person, as an upgrade may, must not keep
// others from running. No other workflow takes that of rollouts: Argo would have an upgrade wait for a mutex that a
// workflow is first in line for which waits for the upgrade.
func mutexes(template string) []string {
	switch template {
	case "upgrade":
		return []string{"_rollout"}
	case "backup", "kubeconfig":
		return []string{"_control-plane"}
	case "provision", "restore", "deprovision":
		return []string{"", "_control-plane"}
	}
	return []string{""}
}

// Each step of a rollout holds the mutexes of its own objects. Where a person or a pause is waited for, none is held
// that another workflow takes, and none is asked for by a step within one that holds it.
func TestARolloutThatWaitsKeepsOnlyRolloutsWaiting(t *testing.T) {
	upgrade := templates(t)["upgrade.yaml"]
	held := map[string][]string{} // by the names of the templates that end the way from the entry point
	var walk func(name string, holding []string)
	walk = func(name string, holding []string) {
		tmpl := upgrade.GetTemplateByName(name)
		for _, lock := range locks(tmpl.Synchronization) {
			assert.Assert(t, !slices.Contains(holding, lock), "%s waits for itself", name)
		}
		holding = slices.Concat(holding, locks(tmpl.Synchronization))
		if before, seen := held[name]; seen {
			assert.DeepEqual(t, before, holding)
			return
		}
		held[name] = holding
		for _, group := range tmpl.Steps {
			for _, step := range group.Steps {
				walk(step.Template, holding)
			}
		}
	}
	walk(upgrade.Spec.Entrypoint, locks(upgrade.Spec.Synchronization))
	walk(upgrade.Spec.OnExit, locks(upgrade.Spec.Synchronization))
	for name, want := range map[string][]string{
		"plan": {"_rollout", ""}, "backup": {"_rollout", "_control-plane"},
		"control-plane": {"_rollout", "", "_control-plane"}, "addons": {"_rollout", "", "_control-plane"},
		"stage-machine": {"_rollout", ""}, "upgrade-machine": {"_rollout", ""}, "verify": {"_rollout", ""},
		"clean": {"_rollout", ""}, "approve": {"_rollout"}, "pause": {"_rollout"}, "gate": {"_rollout"},
	} {
		assert.DeepEqual(t, held[name], want)
	}
}

// required reports whether users have to give a parameter. Workflows that take machines away never take all by default.
func required(template, parameter string) bool {
	return parameter == "cluster" || parameter == "user" || parameter == "machines" &&
		(template == "remove" || template == "reset" || template == "rollback")
}

func templates(t *testing.T) map[string]wfv1.WorkflowTemplate {
	t.Helper()
	files, err := filepath.Glob("*.yaml")
	assert.NilError(t, err)
	found := map[string]wfv1.WorkflowTemplate{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		assert.NilError(t, err)
		var of metav1.TypeMeta
		assert.NilError(t, yaml.Unmarshal(content, &of), file)
		if of.Kind != "WorkflowTemplate" {
			continue
		}
		var template wfv1.WorkflowTemplate
		assert.NilError(t, yaml.UnmarshalStrict(content, &template), file)
		found[file] = template
	}
	assert.Assert(t, len(found) > 0)
	return found
}

// callOf is the call that the plugin gets for a template of a workflow with its default parameters.
func callOf(t *testing.T, workflow wfv1.WorkflowTemplate, tmpl wfv1.Template) plugin.Call {
	t.Helper()
	values := maps.Clone(values)
	for _, parameter := range workflow.Spec.Arguments.Parameters {
		if parameter.Value != nil {
			values["workflow.parameters."+parameter.Name] = parameter.Value.String()
		}
	}
	object := expression.ReplaceAllStringFunc(string(tmpl.Plugin.Value), func(match string) string {
		value, ok := values[expression.FindStringSubmatch(match)[1]]
		assert.Assert(t, ok, "no value for %s", match)
		quoted := strconv.Quote(value) // as Argo puts values into JSON
		return quoted[1 : len(quoted)-1]
	})
	var byKey map[string]json.RawMessage
	assert.NilError(t, json.Unmarshal([]byte(object), &byKey))
	call, err := plugin.NewCall(plugin.Workflow{Name: "join-x", Namespace: "team-a", UID: "u"}, tmpl.Name,
		byKey[plugin.ObjectKey])
	assert.NilError(t, err)
	return call
}

func declared(t *testing.T, tmpl wfv1.Template) []string {
	t.Helper()
	var names []string
	for _, parameter := range tmpl.Outputs.Parameters {
		assert.Assert(t, parameter.ValueFrom != nil && parameter.ValueFrom.Supplied != nil, parameter.Name)
		names = append(names, parameter.Name)
	}
	return names
}

func TestExamplesUseParametersThatTheTemplateTakes(t *testing.T) {
	files, err := filepath.Glob("../examples/*.yaml")
	assert.NilError(t, err)
	assert.Assert(t, len(files) > 0)
	for _, file := range append(files, "scheduled-upgrade.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			asked := copied(t, file)
			template, found := templates(t)[asked.WorkflowTemplateRef.Name+".yaml"]
			assert.Assert(t, found, "there is no template %s", asked.WorkflowTemplateRef.Name)
			for _, parameter := range asked.Arguments.Parameters {
				taken := template.Spec.Arguments.GetParameterByName(parameter.Name)
				assert.Assert(t, taken != nil, "the template takes no parameter %q", parameter.Name)
				assert.Assert(t, len(taken.Enum) == 0 || slices.Contains(taken.Enum, *parameter.Value),
					"%s can't be %q", parameter.Name, parameter.Value)
			}
			for _, parameter := range template.Spec.Arguments.Parameters {
				given := asked.Arguments.GetParameterByName(parameter.Name) != nil
				assert.Assert(t, given || !required(template.Name, parameter.Name), "%s is missing", parameter.Name)
			}
		})
	}
}

// copied returns the spec of a Workflow or a CronWorkflow that users copy.
func copied(t *testing.T, file string) wfv1.WorkflowSpec {
	t.Helper()
	content, err := os.ReadFile(file)
	assert.NilError(t, err)
	var of metav1.TypeMeta
	assert.NilError(t, yaml.Unmarshal(content, &of))
	if of.Kind == "CronWorkflow" {
		var cron wfv1.CronWorkflow
		assert.NilError(t, yaml.UnmarshalStrict(content, &cron))
		assert.Equal(t, string(cron.Spec.ConcurrencyPolicy), "Forbid")
		return cron.Spec.WorkflowSpec
	}
	var workflow wfv1.Workflow
	assert.NilError(t, yaml.UnmarshalStrict(content, &workflow))
	return workflow.Spec
}

// Around the change of summer time an hour of the night does not exist, or exists twice: a run in it is left out, or
// made twice. Which hour it is depends on the zone, which users replace.
func TestNightlyRunsAreOutsideTheHoursOfSummerTime(t *testing.T) {
	zones := []string{
		"Europe/Berlin", "Europe/London", "America/New_York", "America/Santiago", "America/Havana", "Africa/Cairo",
		"Asia/Beirut", "Australia/Lord_Howe", "Atlantic/Azores",
	}
	files, err := filepath.Glob("../examples/*.yaml")
	assert.NilError(t, err)
	runs := 0
	for _, file := range append(files, "scheduled-upgrade.yaml") {
		var cron wfv1.CronWorkflow
		content, err := os.ReadFile(file)
		assert.NilError(t, err)
		assert.NilError(t, yaml.Unmarshal(content, &cron))
		for _, schedule := range cron.Spec.Schedules {
			minute, rest, _ := strings.Cut(schedule, " ")
			hour, daily, _ := strings.Cut(rest, " ")
			assert.Equal(t, daily, "* * *", file)
			runs++
			for _, zone := range zones {
				assertOnceADay(t, file, zone, hour, minute)
			}
		}
	}
	assert.Equal(t, runs, 4)
}

// assertOnceADay checks that a time of day exists exactly once on each day of a year.
func assertOnceADay(t *testing.T, file, zone, hour, minute string) {
	t.Helper()
	location, err := time.LoadLocation(zone)
	assert.NilError(t, err)
	wall := strings.Repeat("0", 2-len(hour)) + hour + ":" + strings.Repeat("0", 2-len(minute)) + minute
	const slots = 24 * 12 // of five minutes
	for day := time.Date(2026, time.January, 1, 12, 0, 0, 0, location); day.Year() == 2026; day = day.AddDate(0, 0, 1) {
		times := 0
		for slot := range 2 * slots {
			at := day.Add(time.Duration(slot-slots) * 5 * time.Minute)
			if at.YearDay() == day.YearDay() && at.Format("15:04") == wall {
				times++
			}
		}
		assert.Equal(t, times, 1, "%s: %s in %s on %s", file, wall, zone, day.Format(time.DateOnly))
	}
}

func TestTheNextWaveBeginsUnlessAPersonStopsIt(t *testing.T) {
	const two, last = `[{"name":"1","machines":["m1"]},{"name":"2","machines":["m2"]}]`,
		`[{"name":"2","machines":["m2"]}]`
	for name, test := range map[string]struct {
		waves string
		// gate and approve are the outputs of these steps: Argo has nil for those of a step that was skipped, and none
		// at all for one that was resumed by itself, without a decision.
		gate    any
		approve map[string]any
		begins  string
	}{
		"nobody is asked":       {two, "false", map[string]any{"outputs.parameters.decision": nil}, "true"},
		"a person lets it":      {two, "true", map[string]any{"outputs.parameters.decision": "go on"}, "true"},
		"a person says nothing": {two, "true", nil, "true"},
		"a person stops it":     {two, "true", map[string]any{"outputs.parameters.decision": "stop"}, "false"},
		"it was the last":       {last, nil, map[string]any{"outputs.parameters.decision": nil}, "false"},
	} {
		t.Run(name, func(t *testing.T) {
			scope := map[string]any{
				"inputs.parameters.waves": test.waves, "steps.gate.outputs.parameters.approve": test.gate,
				"steps.approve.status":                "Succeeded",
				"steps.gate.outputs.parameters.pause": "600",
			}
			for key, value := range test.approve {
				scope["steps.approve."+key] = value
			}
			// A next wave that will not begin is not waited for.
			for _, step := range []string{"pause", "next"} {
				when, err := json.Marshal(stepOf(t, "upgrade.yaml", "roll", step).When)
				assert.NilError(t, err)
				begins, err := template.ReplaceStrictAny(string(when), scope, []string{"steps", "tasks"})
				assert.NilError(t, err)
				assert.Equal(t, begins, strconv.Quote(test.begins), step)
			}
		})
	}
}

// stepOf is a step of a template in a file.
func stepOf(t *testing.T, file, of, name string) wfv1.WorkflowStep {
	t.Helper()
	workflow := templates(t)[file]
	found := workflow.GetTemplateByName(of)
	assert.Assert(t, found != nil)
	for _, group := range found.Steps {
		for _, step := range group.Steps {
			if step.Name == name {
				return step
			}
		}
	}
	t.Fatalf("template %s of %s has no step %s", of, file, name)
	return wfv1.WorkflowStep{}
}
