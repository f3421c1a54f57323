package plugin

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

func ends(result Result, err error) Step {
	return work(func(context.Context, func(string)) (Result, error) { return result, err })
}

func TestOnlyTheAgentsTokenIsAccepted(t *testing.T) {
	server := newServer(t, Options{Steps: []Step{ends(Result{Phase: Succeeded, Message: "done"}, nil)}})
	for name, test := range map[string]struct {
		authorization string
		status        int
	}{
		"the token":         {"Bearer " + testToken, http.StatusOK},
		"none":              {"", http.StatusForbidden},
		"empty":             {"Bearer ", http.StatusForbidden},
		"another":           {"Bearer " + strings.Repeat("x", len(testToken)), http.StatusForbidden},
		"the start of it":   {"Bearer " + testToken[:10], http.StatusForbidden},
		"without its kind":  {testToken, http.StatusForbidden},
		"as a basic header": {"Basic " + testToken, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			got := callWith(t, server, body("wf", "wf[0].a", "k"), test.authorization)
			assert.Equal(t, got.status, test.status, got.text)
			assert.Assert(t, !strings.Contains(got.text, testToken))
		})
	}
}

func TestCallsAreRefusedUntilTheTokenIsWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	server := newServer(t, Options{Steps: []Step{ends(Result{Phase: Succeeded}, nil)}, TokenFile: file})
	request := body("wf", "wf[0].a", "k")
	assert.Equal(t, call(t, server, request).status, http.StatusServiceUnavailable)

	assert.NilError(t, os.WriteFile(file, nil, 0o600))
	assert.Equal(t, callWith(t, server, request, "Bearer ").status, http.StatusServiceUnavailable)

	assert.NilError(t, os.WriteFile(file, []byte(testToken+"\n"), 0o600))
	assert.Equal(t, call(t, server, request).status, http.StatusOK)

	assert.NilError(t, os.WriteFile(file, []byte("a new agent's token"), 0o600))
	assert.Equal(t, call(t, server, request).status, http.StatusForbidden)
}

func TestEveryAnswerHasAPhase(t *testing.T) {
	valid := body("wf", "wf[0].a", "k")
	for name, test := range map[string]struct {
		body    string
		phase   wfv1.NodePhase
		message string
	}{
		"not JSON": {`{"workflow":`, wfv1.NodeFailed, "decoding the call"},
		"nothing":  {``, wfv1.NodeFailed, "decoding the call"},
		"null":     {`null`, wfv1.NodeFailed, "no template"},
		"a list":   {`[]`, wfv1.NodeFailed, "decoding the call"},
		"no workflow": {
			`{"template":{"plugin":{"argosy":{"step":"work","node":"n"}}}}`, wfv1.NodeFailed,
			"no workflow",
		},
		"unknown step": {
			strings.Replace(valid, `"work"`, `"wrok"`, 1), wfv1.NodeFailed,
			`unknown step "wrok": this plugin knows work`,
		},
		"no step":             {strings.Replace(valid, `"step":"work",`, ``, 1), wfv1.NodeFailed, "names no step"},
		"a step that is 3":    {strings.Replace(valid, `"work"`, `3`, 1), wfv1.NodeFailed, `decoding "step"`},
		"no node":             {strings.Replace(valid, `"node":"wf[0].a",`, ``, 1), wfv1.NodeFailed, `{{node.name}}`},
		"unknown input":       {strings.Replace(valid, `"key"`, `"kye"`, 1), wfv1.NodeFailed, `unknown field "kye"`},
		"input in other case": {strings.Replace(valid, `"key"`, `"Key"`, 1), wfv1.NodeFailed, `unknown field "Key"`},
		"input twice": {
			strings.Replace(valid, `"key"`, `"key":"z","key"`, 1), wfv1.NodeFailed,
			`duplicate field "key"`,
		},
		"two plugin keys": {
			strings.Replace(valid, `"argosy":`, `"other":{},"argosy":`, 1), wfv1.NodeFailed,
			"exactly one key",
		},
		"object that is text": {
			`{"workflow":{},"template":{"plugin":{"argosy":"join"}}}`, wfv1.NodeFailed,
			"decoding the plugin object",
		},
		"object that is null": {
			`{"workflow":{},"template":{"plugin":{"argosy":null}}}`, wfv1.NodeFailed,
			"names no step",
		},
		"too large": {
			strings.Replace(valid, `"k"`, `"`+strings.Repeat("k", maxBody)+`"`, 1), wfv1.NodeFailed,
			"too large",
		},
		"valid": {valid, wfv1.NodeSucceeded, "done"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, Options{Steps: []Step{ends(Result{Phase: Succeeded, Message: "done"}, nil)}})
			got := call(t, server, test.body)
			assert.Equal(t, got.status, http.StatusOK)
			assert.Equal(t, got.phase(), test.phase)
			assert.Assert(t, is.Contains(got.message(), test.message))
			assert.Assert(t, got.reply.Requeue == nil)
		})
	}
}

func TestTheStepOfAnotherPluginIsLeftToIt(t *testing.T) {
	server := newServer(t, Options{Steps: []Step{ends(Result{Phase: Succeeded}, nil)}})
	for _, body := range []string{
		`{"workflow":{},"template":{"name":"t","plugin":{"slack":{"step":"work"}}}}`,
		`{"workflow":{},"template":{"name":"t","plugin":{"slack":"x"}}}`,
		`{"workflow":{},"template":{"name":"t","http":{"url":"http://x"}}}`,
	} {
		got := call(t, server, body)
		assert.Equal(t, got.status, http.StatusOK)
		assert.Equal(t, got.text, `{}`)
	}
}

func TestAPanicIsAnErrorWithAllOutputs(t *testing.T) {
	for name, step := range map[string]Step{
		"while it runs": work(func(context.Context, func(string)) (Result, error) { panic("no such luck") }),
		"while it is prepared": scriptedStep{
			name: "work", outputs: []string{"b", "a"},
			prepare: func(Call) (Execution, error) { panic("no such luck") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, Options{Steps: []Step{step}})
			for range 2 {
				got := call(t, server, body("wf", "wf[0].a", "k"))
				assert.Equal(t, got.phase(), wfv1.NodeError)
				assert.Assert(t, is.Contains(got.message(), "no such luck"))
				assert.Equal(t, len(got.reply.Node.Outputs.Parameters), 2)
			}
		})
	}
}

func TestATerminalAnswerHasAMessageAndAllOutputs(t *testing.T) {
	long := strings.Repeat("ä", maxOutput/2)
	for name, test := range map[string]struct {
		result  Result
		err     error
		phase   wfv1.NodePhase
		message string
		b, a    string
	}{
		"succeeded": {Result{
			Phase: Succeeded, Message: "ready",
			Outputs: map[string]string{"a": "1", "b": "2"},
		}, nil, "Succeeded", "ready", "2", "1"},
		"without a message": {Result{Phase: Succeeded}, nil, "Succeeded", "Succeeded", "", ""},
		"skipped": {
			Result{Phase: Skipped, Message: "halted", Outputs: map[string]string{"a": "1"}},
			nil,
			"Skipped", "halted", "", "1",
		},
		"failed with outputs": {
			Result{Phase: Failed, Message: "disk", Outputs: map[string]string{"b": "2"}},
			nil,
			"Failed", "disk", "2", "",
		},
		"error": {Result{}, errors.New("disk too small"), "Failed", "disk too small", "", ""},
		"error with outputs": {
			Result{Outputs: map[string]string{"a": "log"}},
			errors.New("disk too small"), "Failed",
			"disk too small", "", "log",
		},
		"undeclared output": {
			Result{Phase: Succeeded, Outputs: map[string]string{"c": "1"}},
			nil, "Failed",
			`output "c" is not declared`, "", "",
		},
		"output of full size": {
			Result{Phase: Succeeded, Message: "ok", Outputs: map[string]string{"a": long}},
			nil,
			"Succeeded", "ok", "", long,
		},
		"output too large": {
			Result{Phase: Succeeded, Outputs: map[string]string{"a": long + "x"}},
			nil, "Failed",
			`output "a" has 65537 bytes`, "", "",
		},
		"no phase":             {Result{}, nil, "Failed", `phase "" is none of`, "", ""},
		"a phase that goes on": {Result{Phase: "Running"}, nil, "Failed", `phase "Running" is none of`, "", ""},
		"bytes that are no text": {
			Result{Phase: Succeeded, Message: "a\xffb", Outputs: map[string]string{"a": "\xff"}},
			nil,
			"Succeeded", "a?b", "", "?",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, Options{Steps: []Step{ends(test.result, test.err)}})
			got := call(t, server, body("wf", "wf[0].a", "k"))
			assert.Equal(t, got.phase(), test.phase)
			assert.Assert(t, is.Contains(got.message(), test.message))
			assert.Assert(t, got.reply.Requeue == nil)
			outputs := got.reply.Node.Outputs
			assert.Assert(t, outputs.Result == nil)
			assert.Equal(t, len(outputs.Parameters), 2)
			assert.Equal(t, outputs.Parameters[0].Name, "b")
			assert.Equal(t, outputs.Parameters[0].Value.String(), test.b)
			assert.Equal(t, outputs.Parameters[1].Name, "a")
			assert.Equal(t, outputs.Parameters[1].Value.String(), test.a)
		})
	}
}

func TestAllOutputsTogetherAreBounded(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	values := map[string]string{}
	for _, name := range names {
		values[name] = strings.Repeat("x", maxOutput)
	}
	got := answerTo(names, Result{Phase: Succeeded, Outputs: values})
	assert.Equal(t, got.phase, wfv1.NodeFailed)
	assert.Assert(t, is.Contains(got.message, "327680 bytes together"))
}

func TestAMessageIsCutBetweenRunes(t *testing.T) {
	assert.Equal(t, trim(" one \n"), "one")
	for padding := range 4 {
		cut := trim(strings.Repeat("x", padding) + strings.Repeat("日", maxMessage))
		assert.Assert(t, len(cut) <= maxMessage && len(cut) > maxMessage-8, "%d bytes", len(cut))
		assert.Assert(t, strings.HasSuffix(cut, "日…"))
	}
}

func TestASlowRunIsAnsweredRunningWithItsNewestMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newEndings()
		server := newServer(t, Options{Steps: []Step{slow.step()}})
		request := body("wf", "wf[0].a", "k")

		asked := time.Now()
		got := call(t, server, request)
		assert.Equal(t, time.Since(asked), 1500*time.Millisecond)
		assert.Equal(t, got.phase(), wfv1.NodeRunning)
		assert.Equal(t, got.message(), "[1/2 half] half of it · 3s")
		assert.Equal(t, got.reply.Requeue.Duration, time.Second)

		time.Sleep(30 * time.Second)
		got = call(t, server, request)
		assert.Equal(t, got.reply.Requeue.Duration, 3*time.Second)

		slow.end <- Result{Phase: Succeeded, Message: "done"}
		got = call(t, server, request)
		assert.Equal(t, got.phase(), wfv1.NodeSucceeded)
		assert.Equal(t, slow.started(), 1)
	})
}

func TestACallThatCannotWaitIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newEndings()
		server := newServer(t, Options{Steps: []Step{slow.step()}})
		request := body("wf", "wf[0].a", "k")
		for range maxWaiting {
			go call(t, server, request)
		}
		synctest.Wait()
		asked := time.Now()
		got := call(t, server, request)
		assert.Equal(t, got.phase(), wfv1.NodeRunning)
		assert.Equal(t, time.Since(asked), crowdedWait)
		slow.end <- Result{Phase: Succeeded}
		synctest.Wait()
		assert.Equal(t, len(server.waiting), 0)
	})
}

func TestIdenticalConcurrentCallsShareOneRunAndItsAnswer(t *testing.T) {
	for _, phase := range []Phase{Succeeded, Failed} {
		t.Run(string(phase), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := newEndings()
				server := newServer(t, Options{Steps: []Step{slow.step()}})
				answers := make(chan response, 3)
				for _, workflow := range []string{"wf", "wf", "other"} {
					go func() { answers <- call(t, server, body(workflow, workflow+"[0].a", "k")) }()
				}
				synctest.Wait()
				slow.end <- Result{Phase: phase, Message: "the end"}
				for range 3 {
					got := <-answers
					assert.Equal(t, string(got.phase()), string(phase))
					assert.Equal(t, got.message(), "the end")
				}
				assert.Equal(t, slow.started(), 1)
			})
		})
	}
}

func TestCallsWithoutAKeyShareOnlyWithTheirRepetitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := newEndings()
		server := newServer(t, Options{Steps: []Step{slow.step()}})
		call(t, server, body("wf", "wf[0].a", ""))
		call(t, server, body("wf", "wf[0].a", ""))
		assert.Equal(t, slow.started(), 1)
		call(t, server, body("wf", "wf[0].b", ""))
		assert.Equal(t, slow.started(), 2)
		for range 2 {
			slow.end <- Result{Phase: Succeeded}
		}
	})
}

func TestStepsWithBadNamesAreNotRegistered(t *testing.T) {
	step := func(name string, outputs ...string) Step { return scriptedStep{name: name, outputs: outputs} }
	for name, test := range map[string]struct {
		steps []Step
		want  string
	}{
		"output with a dot":  {[]Step{step("plan", "a.b")}, `output "a.b"`},
		"empty output":       {[]Step{step("plan", "")}, `output ""`},
		"output with a line": {[]Step{step("plan", "a\n")}, `output "a\n"`},
		"output twice":       {[]Step{step("plan", "a", "a")}, `output "a" is declared twice`},
		"step twice":         {[]Step{step("plan"), step("plan")}, `registering step "plan": it is registered twice`},
		"step without name":  {[]Step{step("")}, `registering step ""`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewServer(Options{Steps: test.steps})
			assert.ErrorContains(t, err, test.want)
		})
	}
}
