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

// TestWhatACallMeetsFollowsTheTable walks the table in the comment of flights.
func TestWhatACallMeetsFollowsTheTable(t *testing.T) {
	const joins, sameAnswer, newFlight, waits = "joins", "the same answer", "a new flight", "waits"
	same := body("wf", "wf[0].a", "k")
	otherWorkflow := body("other", "other[0].a", "k")
	otherNode := body("wf", "wf[0].b", "k")

	finish := func(phase Phase) func(*world) {
		return func(w *world) {
			call(w.t, w.server, same)
			w.work.end <- Result{Phase: phase, Message: "first"}
			synctest.Wait()
		}
	}
	deliver := func(before func(*world)) func(*world) {
		return func(w *world) { before(w); call(w.t, w.server, same) }
	}
	lose := func(before func(*world)) func(*world) {
		return func(w *world) { before(w); lostCall(w.server, same) }
	}
	later := func(before func(*world), wait time.Duration) func(*world) {
		return func(w *world) { before(w); time.Sleep(wait) }
	}
	running := func(w *world) { call(w.t, w.server, same) }
	cancelled := func(w *world) {
		running(w)
		w.watcher.see("wf", Observation{Shutdown: wfv1.ShutdownStrategyTerminate})
		w.server.cancelUnwanted(w.t.Context())
		synctest.Wait()
	}
	windingDown := func(w *world) { w.work.deaf = true; cancelled(w) }
	wantedAgain := func(before func(*world)) func(*world) {
		return func(w *world) { before(w); w.watcher.see("wf", Observation{}) }
	}
	unknown := func(before func(*world)) func(*world) {
		return func(w *world) { before(w); w.watcher.see("wf", Observation{}); w.watcher.err = errors.New("no API") }
	}
	succeeded, failed := finish(Succeeded), finish(Failed)

	for name, row := range map[string]struct {
		before      func(*world)
		same, other string
	}{
		"runs":                                      {running, joins, joins},
		"winds down, cancelled, not told":           {windingDown, sameAnswer, waits},
		"winds down, cancelled, told":               {deliver(windingDown), sameAnswer, waits},
		"winds down, cancelled, told, wanted again": {wantedAgain(deliver(windingDown)), waits, waits},
		"succeeded, not told":                       {succeeded, sameAnswer, newFlight},
		"succeeded, answer lost":                    {lose(succeeded), sameAnswer, newFlight},
		"succeeded, told":                           {deliver(succeeded), sameAnswer, newFlight},
		"succeeded, told 30 s ago": {later(deliver(succeeded), 30*time.Second), sameAnswer,
			newFlight},
		"succeeded, told long ago": {later(deliver(succeeded), 6*time.Minute), newFlight,
			newFlight},
		"skipped, told":                                 {deliver(finish(Skipped)), sameAnswer, newFlight},
		"failed, not told":                              {failed, sameAnswer, newFlight},
		"failed, answer lost":                           {lose(failed), sameAnswer, newFlight},
		"failed, told":                                  {deliver(failed), newFlight, newFlight},
		"cancelled, not told":                           {cancelled, sameAnswer, newFlight},
		"cancelled, told, still unwanted":               {deliver(cancelled), sameAnswer, newFlight},
		"cancelled, told, wanted again":                 {wantedAgain(deliver(cancelled)), newFlight, newFlight},
		"cancelled, told, and the watcher sees nothing": {unknown(deliver(cancelled)), sameAnswer, newFlight},
		"never was":                                     {func(*world) {}, newFlight, newFlight},
	} {
		for caller, want := range map[string]struct{ body, verdict string }{
			"same call":      {same, row.same},
			"other workflow": {otherWorkflow, row.other},
			"other node":     {otherNode, row.other},
		} {
			t.Run(name+"/"+caller, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
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

// verdict names what a call met.
func verdict(got response, started int) string {
	terminal := got.phase() != wfv1.NodeRunning
	switch {
	case started == 1 && !terminal:
		return "a new flight"
	case started == 0 && terminal:
		return "the same answer"
	case started == 0 && got.message() == "waiting for a cancelled run of the same work to end":
		return "waits"
	case started == 0:
		return "joins"
	}
	return fmt.Sprintf("%d flights started, answered %s", started, got.phase())
}

type world struct {
	t       *testing.T
	server  *Server
	watcher *scriptedWatcher
	work    *endings
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, watcher: &scriptedWatcher{}, work: newEndings()}
	w.server = newServer(t, Options{Steps: []Step{w.work.step()}, Watcher: w.watcher})
	return w
}

// finish ends what still runs.
func (w *world) finish() {
	for w.server.flights.count() > 0 {
		w.work.end <- Result{Phase: Succeeded}
		synctest.Wait()
	}
}

func TestARetriedAttemptStartsAnewThoughTheLastAnswerWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
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

func TestAFlightGoesOnForTheCallsThatAreStillWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stopped, wanted := body("wf", "wf[0].a", "k"), body("other", "other[0].a", "k")
		call(t, w.server, stopped)
		call(t, w.server, wanted)
		w.watcher.see("wf", Observation{Gone: true})
		w.server.cancelUnwanted(t.Context())
		got := call(t, w.server, stopped)
		assert.Equal(t, got.phase(), wfv1.NodeFailed)
		assert.Equal(t, got.message(), `cancelled: workflow "wf" is gone`)
		w.work.end <- Result{Phase: Succeeded, Message: "done"}
		assert.Equal(t, call(t, w.server, wanted).message(), "done")
		assert.Equal(t, w.work.started(), 1)
		assert.Equal(t, len(w.work.causes), 0)
	})
}

func TestACallThatWaitedForACancelledRunStartsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.work.deaf = true
		call(t, w.server, body("wf", "wf[0].a", "k"))
		w.watcher.see("wf", Observation{Completed: true})
		w.server.cancelUnwanted(t.Context())
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
	assert.Assert(t, len(server.flights.settled) <= maxRemembered+1, "%d remembered", len(server.flights.settled))
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
