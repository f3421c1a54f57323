package plugin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

// TestCallsAreAnsweredAsTheTableShows walks the table in the comment of runs.
func TestCallsAreAnsweredAsTheTableShows(t *testing.T) {
	const joins, sameAnswer, newRun, waits = "joins", "the same answer", "a new run", "waits"
	same := body("wf", "wf[0].a", "k")
	otherWorkflow := body("other", "other[0].a", "k")
	otherNode := body("wf", "wf[0].b", "k")

	finish := func(phase Phase) func(*fixture) {
		return func(w *fixture) {
			call(w.t, w.server, same)
			w.work.end <- Result{Phase: phase, Message: "first"}
			synctest.Wait()
		}
	}
	deliver := func(before func(*fixture)) func(*fixture) {
		return func(w *fixture) { before(w); call(w.t, w.server, same) }
	}
	lose := func(before func(*fixture)) func(*fixture) {
		return func(w *fixture) { before(w); lostCall(w.server, same) }
	}
	later := func(before func(*fixture), wait time.Duration) func(*fixture) {
		return func(w *fixture) { before(w); time.Sleep(wait) }
	}
	running := func(w *fixture) { call(w.t, w.server, same) }
	cancelled := func(w *fixture) {
		running(w)
		w.observer.see("wf", observation{Shutdown: wfv1.ShutdownStrategyTerminate})
		w.server.canceller.cancelUnwanted(w.t.Context())
		synctest.Wait()
	}
	windingDown := func(w *fixture) { w.work.deaf = true; cancelled(w) }
	wantedAgain := func(before func(*fixture)) func(*fixture) {
		return func(w *fixture) { before(w); w.observer.see("wf", observation{}) }
	}
	unknown := func(before func(*fixture)) func(*fixture) {
		return func(w *fixture) {
			before(w)
			w.observer.see("wf", observation{})
			w.observer.err = errors.New("no API")
		}
	}
	succeeded, failed := finish(Succeeded), finish(Failed)

	for name, row := range map[string]struct {
		before      func(*fixture)
		same, other string
	}{
		"runs":                                      {running, joins, joins},
		"winds down, cancelled, not told":           {windingDown, sameAnswer, waits},
		"winds down, cancelled, told":               {deliver(windingDown), sameAnswer, waits},
		"winds down, cancelled, told, wanted again": {wantedAgain(deliver(windingDown)), waits, waits},
		"succeeded, not told":                       {succeeded, sameAnswer, newRun},
		"succeeded, answer lost":                    {lose(succeeded), sameAnswer, newRun},
		"succeeded, told":                           {deliver(succeeded), sameAnswer, newRun},
		"succeeded, told 30 s ago": {
			later(deliver(succeeded), 30*time.Second), sameAnswer,
			newRun,
		},
		"succeeded, told long ago": {
			later(deliver(succeeded), 6*time.Minute), newRun,
			newRun,
		},
		"skipped, told":                                  {deliver(finish(Skipped)), sameAnswer, newRun},
		"failed, not told":                               {failed, sameAnswer, newRun},
		"failed, answer lost":                            {lose(failed), sameAnswer, newRun},
		"failed, told":                                   {deliver(failed), newRun, newRun},
		"cancelled, not told":                            {cancelled, sameAnswer, newRun},
		"cancelled, told, still unwanted":                {deliver(cancelled), sameAnswer, newRun},
		"cancelled, told, wanted again":                  {wantedAgain(deliver(cancelled)), newRun, newRun},
		"cancelled, told, and the observer sees nothing": {unknown(deliver(cancelled)), sameAnswer, newRun},
		"never was":                                      {func(*fixture) {}, newRun, newRun},
	} {
		for caller, want := range map[string]struct{ body, verdict string }{
			"same call":      {same, row.same},
			"other workflow": {otherWorkflow, row.other},
			"other node":     {otherNode, row.other},
		} {
			t.Run(name+"/"+caller, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newFixture(t)
					row.before(w)
					starts := w.work.started()
					got := call(t, w.server, want.body)
					assert.Equal(t, got.status, 200)
					assert.Equal(t, verdict(got, w.work.started()-starts), want.verdict, got.text)
					w.finish()
				})
			})
		}
	}
}

// verdict returns how a call was answered.
func verdict(got response, started int) string {
	terminal := got.phase() != wfv1.NodeRunning
	switch {
	case started == 1 && !terminal:
		return "a new run"
	case started == 0 && terminal:
		return "the same answer"
	case started == 0 && got.message() == "waiting for a cancelled run of the same work to end":
		return "waits"
	case started == 0:
		return "joins"
	}
	return fmt.Sprintf("%d runs started, answered %s", started, got.phase())
}

type fixture struct {
	t        *testing.T
	server   *Server
	observer *scriptedObserver
	work     *endings
}

func newFixture(t *testing.T) *fixture {
	w := &fixture{t: t, observer: &scriptedObserver{}, work: newEndings()}
	w.server = newServer(t, Options{Steps: []Step{w.work.step()}})
	w.server.canceller.observer = w.observer
	return w
}

// finish ends the runs that go on.
func (w *fixture) finish() {
	for w.server.runs.count() > 0 {
		w.work.end <- Result{Phase: Succeeded}
		synctest.Wait()
	}
}

func TestARetryStartsAnewWhenTheAnswerWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t)
		attempt := func(n int) string {
			return fmt.Sprintf(`{"workflow":{"metadata":{"name":"wf","namespace":"team-a","uid":"u"}},"template":{"name":"t",`+
				`"plugin":{"argosy":{"step":"work","node":"wf[0].a","attempt":"%d","key":"k"}}}}`, n)
		}
		call(t, w.server, attempt(0))
		w.work.end <- Result{Phase: Failed, Message: "first"}
		synctest.Wait()
		assert.Equal(t, call(t, w.server, attempt(1)).phase(), wfv1.NodeRunning)
		w.finish()
	})
}

func TestARunGoesOnForCallsThatAreStillWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t)
		stopped, wanted := body("wf", "wf[0].a", "k"), body("other", "other[0].a", "k")
		call(t, w.server, stopped)
		call(t, w.server, wanted)
		w.observer.see("wf", observation{Gone: true})
		w.server.canceller.cancelUnwanted(t.Context())
		got := call(t, w.server, stopped)
		assert.Equal(t, got.phase(), wfv1.NodeFailed)
		assert.Equal(t, got.message(), `cancelled: workflow "wf" is gone`)
		w.work.end <- Result{Phase: Succeeded, Message: "done"}
		assert.Equal(t, call(t, w.server, wanted).message(), "done")
		assert.Equal(t, w.work.started(), 1)
		assert.Equal(t, len(w.work.causes), 0)
	})
}

func TestACallThatAwaitedACancelledRunStartsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFixture(t)
		w.work.deaf = true
		call(t, w.server, body("wf", "wf[0].a", "k"))
		w.observer.see("wf", observation{Completed: true})
		w.server.canceller.cancelUnwanted(t.Context())
		answered := make(chan response)
		go func() { answered <- call(t, w.server, body("wf2", "wf2[0].a", "k")) }()
		synctest.Wait()
		assert.Equal(t, w.work.started(), 1)
		w.work.end <- Result{Phase: Succeeded}
		synctest.Wait()
		assert.Equal(t, w.work.started(), 2)
		w.work.end <- Result{Phase: Succeeded, Message: "second"}
		got := <-answered
		assert.Equal(t, got.message(), "second")
		assert.Assert(t, is.ErrorContains(w.work.causes[0], `cancelled: workflow "wf" has ended`))
	})
}

func TestRememberedAnswersAreBounded(t *testing.T) {
	server := newServer(t, Options{Steps: []Step{ends(Result{Phase: Succeeded}, nil)}})
	for i := range maxRemembered + 50 {
		call(t, server, body("wf", fmt.Sprintf("wf[%d].a", i), "k"))
	}
	assert.Assert(t, len(server.runs.settled) <= maxRemembered+1, "%d remembered", len(server.runs.settled))
}

func TestAReportAfterTheEndIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late func(string)
		server := newServer(t, Options{Steps: []Step{work(func(_ context.Context, report func(string)) (Result, error) {
			late = report
			return Result{Phase: Succeeded, Message: "done"}, nil
		})}})
		assert.Equal(t, call(t, server, body("wf", "wf[0].a", "k")).message(), "done")
		late("still here")
		assert.Equal(t, call(t, server, body("wf", "wf[0].a", "k")).message(), "done")
	})
}
