package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"argosy.dev/argosy/internal/count"
)

// maxRemembered bounds how many answers are remembered; one workflow has far fewer steps that end within minutes.
const maxRemembered = 1024

// identity tells calls apart: two calls with the same identity are the same question, asked again.
type identity struct {
	workflow string
	node     string
	attempt  string
	key      string
}

func identify(call Call, key string) identity {
	workflow := call.Workflow.UID
	if workflow == "" {
		workflow = call.Workflow.Namespace + "/" + call.Workflow.Name
	}
	return identity{workflow: workflow, node: call.Node, attempt: call.Attempt, key: key}
}

// run is one execution of the work of one key.
type run struct {
	key       string
	step      Step
	started   time.Time
	message   string // newest report
	waiters   map[identity]*waiter
	cancelled bool // cancelled, and not yet at an end
	stop      context.CancelCauseFunc
	done      chan struct{}
}

// waiter is one identity that waits for a run. Everything below settled is set before settled is closed.
type waiter struct {
	call    Call
	settled chan struct{}

	answer    answer
	cancelled bool // because its workflow no longer wants it
	detached  bool // because the process goes away; there is no answer
}

// record is a settled waiter, kept for repetitions of its call.
type record struct {
	*waiter
	at        time.Time
	delivered bool
}

// runs holds the runs that go on and the answers that were given.
//
// The table shows how a call is answered. "Same" is the same question again: same workflow, node, attempt and inputs.
// "Other" has the same key, but comes from another workflow or node.
//
//	the run of this key …                     same call                other call
//	runs                                      joins it                 joins it
//	was cancelled and still winds down        its answer; then waits   waits for its end
//	succeeded less than Remember ago          the same answer          a new run
//	failed, the answer has not been sent      that answer              a new run
//	failed, the answer was sent               a new run                a new run
//	was cancelled, the answer was not sent    that answer              a new run
//	was cancelled, the answer was sent        asks the observer again  a new run
//	there was none, or it is forgotten        a new run                a new run
//
// Why: the agent loses answers that it had not yet written down when it restarts, and asks again; a success must then
// not be repeated. A failure that Argo has is different: asking again means a retry, whose call can be identical to the
// first. After a stop, an agent that lives on for the exit handler keeps asking for steps that were stopped.
type runs struct {
	mutex    sync.Mutex
	running  map[string]*run
	settled  map[identity]*record
	closed   bool // no run starts any more
	remember time.Duration
	gone     sync.WaitGroup
	log      *slog.Logger
	onFinish func(step string, phase wfv1.NodePhase, took time.Duration)
}

func newRuns(remember time.Duration, log *slog.Logger) *runs {
	return &runs{
		running:  map[string]*run{},
		settled:  map[identity]*record{},
		remember: remember,
		log:      log,
	}
}

// joined is the outcome of joining a run; exactly one field is set.
type joined struct {
	answered *waiter         // answered already
	recheck  *waiter         // cancelled, and Argo has got that answer: ask the observer whether that still holds
	waitFor  <-chan struct{} // closed when a run that winds down has ended; join again then
	waiter   *waiter
}

// join returns the answer to a call, or the run that will give it, which it starts if there is none.
func (r *runs) join(id identity, call Call, step Step, execution Execution) joined {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.forgetOld()
	if past, ok := r.settled[id]; ok {
		switch {
		case past.answer.succeeded() || !past.delivered:
			return joined{answered: past.waiter}
		case past.cancelled:
			return joined{recheck: past.waiter}
		}
		delete(r.settled, id)
	}
	current, ok := r.running[id.key]
	switch {
	case !ok && r.closed:
		return joined{answered: &waiter{call: call, detached: true}}
	case !ok:
		current = r.start(id, call, step, execution)
	case current.cancelled:
		return joined{waitFor: current.done}
	}
	w, ok := current.waiters[id]
	if !ok {
		w = &waiter{call: call, settled: make(chan struct{})}
		current.waiters[id] = w
	}
	return joined{waiter: w}
}

// start begins a run. The caller holds the mutex.
func (r *runs) start(id identity, call Call, step Step, execution Execution) *run {
	ctx, stop := context.WithCancelCause(context.Background())
	started := &run{
		key:     id.key,
		step:    step,
		started: time.Now(),
		message: "starting",
		waiters: map[identity]*waiter{},
		stop:    stop,
		done:    make(chan struct{}),
	}
	r.running[id.key] = started
	r.gone.Add(1)
	log := r.log.With(call.attributes()...)
	log.Info("run started")
	go func() {
		defer r.gone.Done()
		result := r.execute(ctx, log, started, execution)
		r.finish(ctx, log, started, result)
		stop(nil)
	}()
	return started
}

// execute does the work of a run and turns its end into an answer.
func (r *runs) execute(ctx context.Context, log *slog.Logger, current *run, execution Execution) (end answer) {
	outputs := current.step.Outputs()
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("step panicked", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			end = panicked(outputs, cause)
		}
	}()
	result, err := execution.Run(ctx, func(message string) {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		current.message = message
	})
	if err != nil {
		result.Phase, result.Message = Failed, err.Error()
	}
	return answerTo(outputs, result)
}

// finish ends a run and settles all its waiters.
func (r *runs) finish(ctx context.Context, log *slog.Logger, current *run, end answer) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	detached := errors.Is(context.Cause(ctx), ErrDetach) && !end.succeeded()
	for id, w := range current.waiters {
		w.answer, w.detached = end, detached
		r.settle(id, w)
	}
	delete(r.running, current.key)
	close(current.done)
	took := time.Since(current.started)
	if detached {
		log.Info("run detached", "took", took.String())
		return
	}
	r.onFinish(current.step.Name(), end.phase, took)
	log.Info("run ended", "phase", end.phase, "message", trim(end.message), "took", took.String(), "cancelled",
		current.cancelled)
}

// settle gives a waiter its answer and remembers it. The caller holds the mutex.
func (r *runs) settle(id identity, w *waiter) {
	if !w.detached {
		r.settled[id] = &record{waiter: w, at: time.Now()}
	}
	close(w.settled)
}

// cancel tells one waiter that its workflow no longer wants the work, and stops the run if it was the last waiter. It
// returns false if the waiter had its answer already.
func (r *runs) cancel(id identity, reason string) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	current, ok := r.running[id.key]
	if !ok {
		return false
	}
	w, ok := current.waiters[id]
	if !ok {
		return false
	}
	delete(current.waiters, id)
	w.cancelled = true
	w.answer = failed(current.step.Outputs(), "cancelled: "+reason)
	r.settle(id, w)
	if len(current.waiters) == 0 {
		current.cancelled = true
		current.stop(fmt.Errorf("%w: %s", errCancelled, reason))
	}
	return true
}

// close prevents further runs from starting.
func (r *runs) close() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.closed = true
}

// detach stops watching every run whose work is still wanted. It returns their number.
func (r *runs) detach() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	count := 0
	for _, current := range r.running {
		if !current.cancelled {
			current.stop(ErrDetach)
			count++
		}
	}
	return count
}

// wait returns when every run has ended, or with ctx's error. Call close before.
func (r *runs) wait(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		r.gone.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w", count.Of(r.count(), "run"), context.Cause(ctx))
	}
}

// progress returns the newest message of the run of key, and how long the run has gone on.
func (r *runs) progress(key string) (message string, age time.Duration) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if current, ok := r.running[key]; ok {
		return current.message, time.Since(current.started)
	}
	return "", 0
}

// delivered records that Argo has got the answer.
func (r *runs) delivered(id identity, to *waiter) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if past, ok := r.settled[id]; ok && past.waiter == to {
		past.delivered = true
	}
}

// forget drops the answer to a call.
func (r *runs) forget(id identity) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.settled, id)
}

// forgetOld drops answers older than remember, and the oldest one when there are more than maxRemembered. The caller
// holds the mutex.
func (r *runs) forgetOld() {
	var oldest identity
	for id, past := range r.settled {
		if time.Since(past.at) > r.remember {
			delete(r.settled, id)
			continue
		}
		if first, ok := r.settled[oldest]; !ok || past.at.Before(first.at) {
			oldest = id
		}
	}
	if len(r.settled) > maxRemembered {
		delete(r.settled, oldest)
	}
}

// waiting returns the calls that wait for runs, by workflow.
func (r *runs) waiting() map[Workflow]map[identity]Call {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	found := map[Workflow]map[identity]Call{}
	for _, current := range r.running {
		for id, w := range current.waiters {
			workflow := w.call.Workflow
			if found[workflow] == nil {
				found[workflow] = map[identity]Call{}
			}
			found[workflow][id] = w.call
		}
	}
	return found
}

func (r *runs) count() int {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return len(r.running)
}
