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

// flight is one run of one key.
type flight struct {
	key        string
	step       Step
	started    time.Time
	message    string // newest report
	passengers map[identity]*passenger
	leaving    bool // cancelled, and not yet at an end
	stop       context.CancelCauseFunc
	done       chan struct{}
}

// passenger is one identity that waits for a flight. Everything below settled is set before settled is closed.
type passenger struct {
	call    Call
	settled chan struct{}

	answer    answer
	cancelled bool // because its workflow no longer wants it
	detached  bool // because the process goes away; there is no answer
}

// record is a settled passenger, kept for repetitions of its call.
type record struct {
	*passenger
	at        time.Time
	delivered bool
}

// flights is the table of what runs and what was answered.
//
// What a call meets, and what becomes of it. "Same" is the same question again: same workflow, node, attempt and
// inputs. "Other" has the same key, but comes from another workflow or node.
//
//	the flight of this key …                    same call                 other call
//	runs                                        joins it                  joins it
//	was cancelled and still winds down          its answer; then waits    waits for its end
//	succeeded less than Remember ago            the same answer           a new flight
//	failed, the answer has not been sent        that answer               a new flight
//	failed, the answer was sent                 a new flight              a new flight
//	was cancelled, the answer was not sent      that answer               a new flight
//	was cancelled, the answer was sent          asks the watcher again    a new flight
//	there was none, or it is forgotten          a new flight              a new flight
//
// Why: the agent loses answers that it had not yet written down when it restarts, and asks again; a success must then
// not be repeated. A failure that Argo has is different: asking again means a retry, whose call can be identical to the
// first. After a stop, an agent that lives on for the exit handler keeps asking for steps that were stopped.
type flights struct {
	mutex    sync.Mutex
	running  map[string]*flight
	settled  map[identity]*record
	closed   bool // no flight starts any more
	remember time.Duration
	gone     sync.WaitGroup
	log      *slog.Logger
	onLand   func(step string, phase wfv1.NodePhase, took time.Duration)
}

func newFlights(remember time.Duration, log *slog.Logger) *flights {
	return &flights{
		running:  map[string]*flight{},
		settled:  map[identity]*record{},
		remember: remember,
		log:      log,
	}
}

// boarding is what a call meets; exactly one field is set.
type boarding struct {
	earlier *passenger      // answered already
	recheck *passenger      // cancelled before, and told so: ask the watcher whether that still holds
	waitFor <-chan struct{} // closed when a flight that winds down has ended; board again then
	aboard  *passenger
}

// board finds the answer to a call, or the flight that will give it, or starts that flight.
func (f *flights) board(id identity, call Call, step Step, plan Flight) boarding {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.forgetOld()
	if past, ok := f.settled[id]; ok {
		switch {
		case past.answer.succeeded() || !past.delivered:
			return boarding{earlier: past.passenger}
		case past.cancelled:
			return boarding{recheck: past.passenger}
		}
		delete(f.settled, id)
	}
	current, ok := f.running[id.key]
	switch {
	case !ok && f.closed:
		return boarding{earlier: &passenger{call: call, detached: true}}
	case !ok:
		current = f.start(id, call, step, plan)
	case current.leaving:
		return boarding{waitFor: current.done}
	}
	aboard, ok := current.passengers[id]
	if !ok {
		aboard = &passenger{call: call, settled: make(chan struct{})}
		current.passengers[id] = aboard
	}
	return boarding{aboard: aboard}
}

// start begins a flight; the caller holds the mutex.
func (f *flights) start(id identity, call Call, step Step, plan Flight) *flight {
	ctx, stop := context.WithCancelCause(context.Background())
	started := &flight{
		key:        id.key,
		step:       step,
		started:    time.Now(),
		message:    "starting",
		passengers: map[identity]*passenger{},
		stop:       stop,
		done:       make(chan struct{}),
	}
	f.running[id.key] = started
	f.gone.Add(1)
	log := f.log.With(call.attributes()...)
	log.Info("flight started")
	go func() {
		defer f.gone.Done()
		result := f.run(ctx, log, started, plan)
		f.land(ctx, log, started, result)
		stop(nil)
	}()
	return started
}

// run does the work of a flight and turns however it ends into an answer.
func (f *flights) run(ctx context.Context, log *slog.Logger, current *flight, plan Flight) (end answer) {
	outputs := current.step.Outputs()
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("step panicked", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			end = panicked(outputs, cause)
		}
	}()
	result, err := plan.Run(ctx, func(message string) {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		current.message = message
	})
	if err != nil {
		result.Phase, result.Message = Failed, err.Error()
	}
	return of(outputs, result)
}

// land ends a flight and settles everybody who is still aboard.
func (f *flights) land(ctx context.Context, log *slog.Logger, current *flight, end answer) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	detached := errors.Is(context.Cause(ctx), ErrDetach) && !end.succeeded()
	for id, aboard := range current.passengers {
		aboard.answer, aboard.detached = end, detached
		f.settle(id, aboard)
	}
	delete(f.running, current.key)
	close(current.done)
	took := time.Since(current.started)
	if detached {
		log.Info("flight detached", "took", took.String())
		return
	}
	f.onLand(current.step.Name(), end.phase, took)
	log.Info("flight ended", "phase", end.phase, "message", trim(end.message), "took", took.String(), "cancelled",
		current.leaving)
}

// settle gives a passenger its answer and remembers it; the caller holds the mutex.
func (f *flights) settle(id identity, aboard *passenger) {
	if !aboard.detached {
		f.settled[id] = &record{passenger: aboard, at: time.Now()}
	}
	close(aboard.settled)
}

// cancel tells one passenger that its workflow no longer wants the work, and stops the flight when nobody else waits
// for it. It returns false when there was nobody to tell.
func (f *flights) cancel(id identity, reason string) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	current, ok := f.running[id.key]
	if !ok {
		return false
	}
	aboard, ok := current.passengers[id]
	if !ok {
		return false
	}
	delete(current.passengers, id)
	aboard.cancelled = true
	aboard.answer = failed(current.step.Outputs(), "cancelled: "+reason)
	f.settle(id, aboard)
	if len(current.passengers) == 0 {
		current.leaving = true
		current.stop(fmt.Errorf("%w: %s", ErrCancelled, reason))
	}
	return true
}

// close lets no other flight start.
func (f *flights) close() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.closed = true
}

// detach stops watching every flight whose work is still wanted. It returns how many it left.
func (f *flights) detach() int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	count := 0
	for _, current := range f.running {
		if !current.leaving {
			current.stop(ErrDetach)
			count++
		}
	}
	return count
}

// wait returns when every flight has ended, or with ctx's error. It comes after close.
func (f *flights) wait(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		f.gone.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for %d flights to end: %w", f.count(), context.Cause(ctx))
	}
}

// progress is the newest message of the flight with this key.
func (f *flights) progress(key string) (message string, age time.Duration) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if current, ok := f.running[key]; ok {
		return current.message, time.Since(current.started)
	}
	return "", 0
}

// delivered notes that Argo has got the answer.
func (f *flights) delivered(id identity, to *passenger) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if past, ok := f.settled[id]; ok && past.passenger == to {
		past.delivered = true
	}
}

// forget drops what is remembered about a call.
func (f *flights) forget(id identity) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	delete(f.settled, id)
}

// forgetOld drops answers that are too old, and the oldest when there are too many; the caller holds the mutex.
func (f *flights) forgetOld() {
	var oldest identity
	for id, past := range f.settled {
		if time.Since(past.at) > f.remember {
			delete(f.settled, id)
			continue
		}
		if first, ok := f.settled[oldest]; !ok || past.at.Before(first.at) {
			oldest = id
		}
	}
	if len(f.settled) > maxRemembered {
		delete(f.settled, oldest)
	}
}

// waiting lists who waits for flights, by workflow.
func (f *flights) waiting() map[Workflow]map[identity]Call {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	found := map[Workflow]map[identity]Call{}
	for _, current := range f.running {
		for id, aboard := range current.passengers {
			workflow := aboard.call.Workflow
			if found[workflow] == nil {
				found[workflow] = map[identity]Call{}
			}
			found[workflow][id] = aboard.call
		}
	}
	return found
}

func (f *flights) count() int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return len(f.running)
}
