package plugin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/plugins/executor"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

func TestOnShutdownUnwantedRunsAreCancelledAndOthersDetached(t *testing.T) {
	for name, test := range map[string]struct {
		seen observation
		err  error
		want error
	}{
		"the pod is evicted":              {observation{}, nil, ErrDetach},
		"the workflow was terminated":     {observation{Shutdown: wfv1.ShutdownStrategyTerminate}, nil, errCancelled},
		"the workflow is gone":            {observation{Gone: true}, nil, errCancelled},
		"nobody can tell":                 {observation{}, errors.New("no API"), ErrDetach},
		"it ended, the tasks are unknown": {observation{Completed: true}, errors.New("no API"), errCancelled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFixture(t)
				w.observer.see("wf", test.seen)
				w.observer.err = test.err
				waiting := make(chan response)
				go func() { waiting <- call(t, w.server, body("wf", "wf[0].a", "k")) }()
				synctest.Wait()
				w.server.drain(t.Context())
				assert.Equal(t, len(w.work.causes), 1)
				assert.Assert(t, is.ErrorIs(w.work.causes[0], test.want))

				got := <-waiting
				if errors.Is(test.want, ErrDetach) {
					assert.Equal(t, got.phase(), wfv1.NodeRunning, "a detached run has no answer")
				} else {
					assert.Equal(t, got.phase(), wfv1.NodeFailed)
					assert.Assert(t, is.Contains(got.message(), "cancelled: "))
				}
			})
		})
	}
}

func TestARunThatSucceedsDuringShutdownIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t)
		w.work.deaf = true
		waiting := make(chan response)
		go func() { waiting <- call(t, w.server, body("wf", "wf[0].a", "k")) }()
		synctest.Wait()
		go w.server.drain(t.Context())
		synctest.Wait()
		w.work.end <- Result{Phase: Succeeded, Message: "just in time"}
		assert.Equal(t, (<-waiting).message(), "just in time")
	})
}

func TestDrainingEndsWithTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t)
		w.work.deaf = true
		call(t, w.server, body("wf", "wf[0].a", "k"))
		began := time.Now()
		w.server.drain(t.Context())
		assert.Equal(t, time.Since(began), 25*time.Second)
		w.finish()
	})
}

// TestTheAgentIsAnsweredUntilItDies: the agent of a deleted pod lives as long as the pod's grace, and fails every step
// whose plugin it cannot reach.
func TestTheAgentIsAnsweredUntilItDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t)
		call(t, w.server, body("wf", "wf[0].a", "k"))
		began := time.Now()
		drained := make(chan time.Duration)
		go func() { w.server.drain(t.Context()); drained <- time.Since(began) }()
		synctest.Wait()
		for _, node := range []string{"wf[0].a", "wf[0].b"} {
			got := call(t, w.server, body("wf", node, "k"))
			assert.Equal(t, got.phase(), wfv1.NodeRunning)
			assert.Equal(t, got.message(), "the plugin is shutting down; the next one continues this step")
			assert.Equal(t, got.reply.Requeue.Duration, 3*time.Second)
		}
		assert.Equal(t, w.work.started(), 1)
		assert.Equal(t, <-drained, 25*time.Second)
	})
}

func TestDrainingEndsSoonAfterTheWorkflow(t *testing.T) {
	for name, seen := range map[string]observation{
		"ended":      {Completed: true},
		"deleted":    {Deleting: true},
		"gone":       {Gone: true},
		"terminated": {Shutdown: wfv1.ShutdownStrategyTerminate},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newFixture(t)
				call(t, w.server, body("wf", "wf[0].a", "k"))
				go func() {
					time.Sleep(3 * time.Second)
					w.observer.see("wf", seen)
				}()
				began := time.Now()
				w.server.drain(t.Context())
				assert.Equal(t, time.Since(began), 4*time.Second)
			})
		})
	}
}

func TestDrainingWithoutAnyCallEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t)
		began := time.Now()
		w.server.drain(t.Context())
		assert.Equal(t, time.Since(began), time.Duration(0))
	})
}

func TestCancellationIsNoticedWhileARunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { w.server.canceller.watch(ctx); close(done) }()
		call(t, w.server, body("wf", "wf[0].a", "k"))
		w.observer.see("wf", observation{Shutdown: wfv1.ShutdownStrategyStop})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got := call(t, w.server, body("wf", "wf[0].a", "k"))
		assert.Equal(t, got.message(), `cancelled: workflow "wf" was stopped`)
		assert.Assert(t, got.reply.Requeue == nil)
		assert.Equal(t, len(got.reply.Node.Outputs.Parameters), 2)
		stop()
		<-done
	})
}

func TestTheServerAnswersOnItsSocketUntilTerminated(t *testing.T) {
	w := newFixture(t)
	w.server.timing.Wait = time.Minute
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	ctx, terminate := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.server.serve(ctx, listener) }()
	address := "http://" + listener.Addr().String()
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n"} {
		assert.Equal(t, get(t, address+path), want)
	}
	go func() {
		w.work.end <- Result{Phase: Succeeded, Message: "joined", Outputs: map[string]string{"a": "1.34"}}
	}()
	reply := post(t, address)
	assert.Equal(t, reply.Node.Message, "joined")
	w.observer.see("wf", observation{Completed: true})
	assert.Equal(t, reply.Node.Outputs.Parameters[1].Value.String(), "1.34")

	text := get(t, address+"/metrics")
	for _, line := range []string{
		`argosy_plugin_calls_total{phase="Succeeded",step="work"} 1`,
		`argosy_plugin_run_duration_seconds_count{phase="Succeeded",step="work"} 1`,
		`argosy_plugin_runs 0`,
	} {
		assert.Assert(t, is.Contains(text, line))
	}
	terminate()
	assert.NilError(t, <-ended)
}

// post asks once, as Argo's agent does.
func post(t *testing.T, address string) (reply executor.ExecuteTemplateReply) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/api/v1/template.execute",
		strings.NewReader(body("wf", "wf[0].a", "k")))
	assert.NilError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+testToken)
	response, err := http.DefaultClient.Do(request)
	assert.NilError(t, err)
	defer func() { _ = response.Body.Close() }()
	assert.Equal(t, response.StatusCode, http.StatusOK)
	assert.NilError(t, json.NewDecoder(response.Body).Decode(&reply))
	return reply
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	assert.NilError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	assert.NilError(t, err)
	return string(text)
}

func TestWhileDrainingItIsAliveButNotReady(t *testing.T) {
	w := newFixture(t)
	w.server.draining.Store(true)
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		recorder := httptest.NewRecorder()
		w.server.handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		assert.Equal(t, recorder.Code, want, path)
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer func() { _ = listener.Close() }()
	server := newServer(t, Options{Address: listener.Addr().String()})
	assert.ErrorContains(t, server.Run(t.Context()), `listening on "127.0.0.1:`)
}

func TestLogLinesNameTheCallAndNeverTheToken(t *testing.T) {
	var lines bytes.Buffer
	server := newServer(t, Options{
		Steps: []Step{ends(Result{Phase: Failed, Message: "disk too small"}, nil)},
		Log:   slog.New(slog.NewJSONHandler(&lines, nil)),
	})
	request := strings.Replace(body("wf", "wf[0].a", "k"), `"key":"k"`, `"cluster":"team-a","machine":"m1"`, 1)
	call(t, server, request)
	callWith(t, server, request, "Bearer "+testToken+"x")
	assert.Assert(t, !strings.Contains(lines.String(), testToken))

	for line := range strings.Lines(lines.String()) {
		var entry map[string]any
		assert.NilError(t, json.Unmarshal([]byte(line), &entry))
		if entry["msg"] != "run ended" {
			continue
		}
		for key, want := range map[string]string{
			"workflow": "wf", "namespace": "team-a", "node": "wf[0].a",
			"step":    "work",
			"cluster": "team-a", "machine": "m1", "phase": "Failed", "message": "disk too small",
		} {
			assert.Equal(t, entry[key], want, key)
		}
		return
	}
	t.Fatalf("no line about the end of the run in:\n%s", lines.String())
}
