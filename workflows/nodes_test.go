package workflows_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
)

// People look for a machine in the lists of nodes that Argo's UI and "argo get" show.
func TestNodesOfMachinesBearTheirNames(t *testing.T) {
	for _, test := range scaled {
		t.Run(test.template, func(t *testing.T) {
			fleet := newFleet(t, 3, test.joined, test.version)
			for _, machine := range fleet.machines {
				machine.differs = test.template == "reconcile"
			}
			with := map[string]string{"cluster": "team-a"}
			maps.Copy(with, test.with)
			argo := start(t, test.template, fleet, with)
			assert.Equal(t, argo.run(), wfv1.NodeSucceeded)
			steps := map[string]int{}
			for _, node := range argo.nodes {
				if machine := machineOf(node); machine != "" && node.Type == wfv1.NodeTypeRetry {
					name := regexp.MustCompile(`^([a-z]+)\(\d+:` + regexp.QuoteMeta(machine) + `\)$`)
					assert.Assert(t, name.MatchString(node.DisplayName), "%s: %s", machine, node.DisplayName)
					steps[name.FindStringSubmatch(node.DisplayName)[1]]++
				}
			}
			assert.Assert(t, len(steps) > 0)
			for step, machines := range steps {
				assert.Equal(t, machines, 3, step)
			}
		})
	}
}

func machineOf(node wfv1.NodeStatus) string {
	if node.Inputs == nil {
		return ""
	}
	for _, parameter := range node.Inputs.Parameters {
		if parameter.Name == "machine" {
			return parameter.Value.String()
		}
	}
	return ""
}

// The simulation names nodes as Argo does, of which this holds a few cases.
func TestItemsAreDescribedAsArgoDoes(t *testing.T) {
	for text, want := range map[string]string{
		`"m5"`:                        "m5",
		`"7"`:                         "7",
		`"true"`:                      "true",
		`"m1+49"`:                     "m1+49",
		`{"machine":"m5"}`:            "machine:m5",
		`{"machine":"m5","arch":"x"}`: "arch:x,machine:m5",
	} {
		var item wfv1.Item
		assert.NilError(t, json.Unmarshal([]byte(text), &item))
		scope := map[string]any{}
		assert.Equal(t, described(&item, scope), want)
		if !strings.HasPrefix(text, "{") {
			assert.DeepEqual(t, scope, map[string]any{"item": want})
		}
	}
}

// Argo bounds a template's own display name to 2 to 63 letters, digits, "-" and ".", and fails a node with another one:
// names of machines are up to 253 long, and those of groups have a "+".
func TestTemplatesLeaveDisplayNamesToArgo(t *testing.T) {
	for file, workflow := range templates(t) {
		for _, tmpl := range workflow.Spec.Templates {
			assert.Equal(t, tmpl.GetDisplayName(), "", "%s: template %s", file, tmpl.Name)
			for _, group := range tmpl.Steps {
				for _, step := range group.Steps {
					if step.WithParam == "" {
						continue
					}
					machine := step.Arguments.GetParameterByName("machine")
					assert.Assert(t, machine != nil && machine.Value.String() == "{{item}}",
						"%s: items of step %s are to be plain names", file, step.Name)
				}
			}
		}
	}
}

// The parts of a template in the UI before it is submitted, and of a workflow in the list of all.
func TestTheUIShowsTitlesAndChoices(t *testing.T) {
	const title, description = "workflows.argoproj.io/title", "workflows.argoproj.io/description"
	titles := map[string]string{}
	for file, workflow := range templates(t) {
		t.Run(file, func(t *testing.T) {
			assert.Equal(t, titles[workflow.Annotations[title]], "", "two templates have one title")
			titles[workflow.Annotations[title]] = file
			of := workflow.Spec.WorkflowMetadata.Annotations
			for _, text := range []string{workflow.Annotations[title], of[title]} {
				assert.Assert(t, text != "" && len(text) <= 80 && !strings.Contains(text, "\n"), "title %q", text)
			}
			assert.Assert(t, strings.Contains(of[title], "{{workflow.parameters.cluster}}"), of[title])
			for _, text := range []string{workflow.Annotations[description], of[description]} {
				assert.Assert(t, text != "", "a description is missing")
				assertMarkdownOfTheUI(t, text)
			}
			for _, parameter := range workflow.Spec.Arguments.Parameters {
				assertChoices(t, parameter)
			}
			for _, tmpl := range workflow.Spec.Templates {
				for _, parameter := range tmpl.Inputs.Parameters {
					if tmpl.Suspend != nil && len(tmpl.Outputs.Parameters) > 0 {
						assert.Assert(t, parameter.Description != nil && len(parameter.Enum) > 1, parameter.Name)
						assertChoices(t, parameter)
					}
				}
			}
		})
	}
}

// assertMarkdownOfTheUI refuses what the UI's lists escape or take out of a title and a description: lists, headers,
// quotations and blocks of code; and marks that begin and do not end.
func assertMarkdownOfTheUI(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		assert.Assert(t, !regexp.MustCompile("^([-*>] |#|[0-9]+\\. |```)").MatchString(line), line)
	}
	for _, mark := range []string{"**", "`"} {
		assert.Equal(t, strings.Count(text, mark)%2, 0, "%s does not end in %q", mark, text)
	}
}

// assertChoices checks that a parameter that is true or false has both as choices, and that a default is one of them.
func assertChoices(t *testing.T, parameter wfv1.Parameter) {
	t.Helper()
	choices := []string{}
	for _, choice := range parameter.Enum {
		choices = append(choices, choice.String())
	}
	if parameter.Value == nil {
		return
	}
	value := parameter.Value.String()
	if value == "true" || value == "false" {
		assert.DeepEqual(t, slices.Sorted(slices.Values(choices)), []string{"false", "true"})
	}
	assert.Assert(t, len(choices) == 0 || slices.Contains(choices, value), "%s: %q", parameter.Name, choices)
}
