package plugin

import (
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// declaring is body with outputs that the template declares.
func declaring(outputs ...string) string {
	var list []string
	for _, name := range outputs {
		list = append(list, `{"name":"`+name+`","valueFrom":{"default":""}}`)
	}
	return strings.Replace(body("wf", "wf[0].a", "k"), `"outputs":{}`,
		`"outputs":{"parameters":[`+strings.Join(list, ",")+`]}`, 1)
}

// Argo waits for ever for an output that a template declares and an answer lacks.
func TestATemplateOfAnotherReleaseFailsAtOnceWithAllItsOutputs(t *testing.T) {
	for name, test := range map[string]struct {
		body    string
		message string
		outputs []string
	}{
		"an output that the step does not have": {
			declaring("a", "groups"), `template "t" declares outputs that step "work" does not have, groups`,
			[]string{"b", "a", "groups"},
		},
		"a step that the plugin does not have": {
			strings.Replace(declaring("groups"), `"work"`, `"resume"`, 1), `unknown step "resume"`,
			[]string{"groups"},
		},
		"an input that the step does not have": {
			strings.Replace(declaring("a"), `"key"`, `"pace"`, 1), `unknown field "pace"`, []string{"b", "a"},
		},
		"a newer version of calls": {
			strings.Replace(declaring("groups"), `"step":"work"`, `"apiVersion":"v2","step":"resume"`, 1),
			`template "t" calls the plugin by apiVersion "v2", and this one serves "v1alpha1"`,
			[]string{"groups"},
		},
		"a version in another case": {
			strings.Replace(declaring("a"), `"step"`, `"APIVersion":"v1alpha1","step"`, 1),
			`unknown field "APIVersion"`,
			[]string{"b", "a"},
		},
		"a step that is no text": {
			strings.Replace(declaring("a"), `"work"`, `3`, 1), `decoding "step"`, []string{"a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			worked := newEndings()
			got := call(t, newServer(t, Options{Steps: []Step{worked.step()}, Release: "v0.1.0"}), test.body)
			assert.Equal(t, got.phase(), wfv1.NodeFailed)
			assert.Assert(t, is.Contains(got.message(), test.message))
			if name != "a step that is no text" {
				assert.Assert(t, is.Contains(got.message(),
					"the template is of another release than the plugin, v0.1.0: apply install/ of one release"))
			}
			var outputs []string
			for _, parameter := range got.reply.Node.Outputs.Parameters {
				outputs = append(outputs, parameter.Name)
			}
			assert.DeepEqual(t, outputs, test.outputs)
			assert.Equal(t, worked.started(), 0)
		})
	}
}

func TestAnOlderTemplateAsksForFewerOutputs(t *testing.T) {
	server := newServer(t, Options{Steps: []Step{ends(Result{Phase: Succeeded, Message: "done"}, nil)}})
	got := call(t, server, declaring("a"))
	assert.Equal(t, got.phase(), wfv1.NodeSucceeded)
}

func TestATemplateOfThisVersionOrOlderThanVersionsIsServed(t *testing.T) {
	server := newServer(t, Options{Steps: []Step{ends(Result{Phase: Succeeded, Message: "done"}, nil)}})
	for _, version := range []string{``, `"apiVersion":"",`, `"apiVersion":"v1alpha1",`} {
		got := call(t, server, strings.Replace(declaring("a"), `"step"`, version+`"step"`, 1))
		assert.Equal(t, got.phase(), wfv1.NodeSucceeded, version)
	}
}

func TestAPanicBeforeTheWorkHasTheDeclaredOutputs(t *testing.T) {
	step := scriptedStep{name: "work", outputs: []string{"a"}, prepare: func(Call) (Execution, error) {
		panic("no such luck")
	}}
	got := call(t, newServer(t, Options{Steps: []Step{step}}), declaring("a"))
	assert.Equal(t, got.phase(), wfv1.NodeError)
	assert.Equal(t, len(got.reply.Node.Outputs.Parameters), 1)
}
