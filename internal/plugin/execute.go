package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/plugins/executor"
)

// maxBody bounds a call, in bytes; an answer in the WorkflowTaskSet has no room for more either.
const maxBody = 1 << 20

// serveExecute answers POST /api/v1/template.execute.
//
// Only three status codes are ever used. 503 makes the agent try again for about 15 seconds and then fails the step, so
// it stands only for a state that passes quickly: no token yet. 403 is for callers without the token. Everything else
// is 200 with a phase: the agent takes 404 as "never call again", and any other code as the failure of the step, with
// the code as its only message.
func (s *Server) serveExecute(w http.ResponseWriter, r *http.Request) {
	if err := authorize(s.tokenFile, r); errors.Is(err, errNoToken) {
		s.log.Warn("call refused", "error", err.Error())
		http.Error(w, "the argosy plugin is starting: "+errNoToken.Error(), http.StatusServiceUnavailable)
		return
	} else if err != nil {
		s.log.Warn("call refused", "error", err.Error(), "remote", r.RemoteAddr)
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	reply, delivered := s.execute(w, r)
	body, err := json.Marshal(reply)
	if err != nil {
		s.log.Error("reply cannot be encoded", "error", err.Error())
		body = []byte(`{"node":{"phase":"Error","message":"the reply could not be encoded"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(body); err == nil && r.Context().Err() == nil {
		delivered()
	}
}

// undelivered ignores that an answer was sent.
func undelivered() {}

// execute returns the reply to a request, and a function to call once the reply has been sent.
func (s *Server) execute(w http.ResponseWriter, r *http.Request) (reply executor.ExecuteTemplateReply,
	delivered func(),
) {
	var outputs []string // of the step, once it is known
	defer func() {
		if cause := recover(); cause != nil {
			s.log.Error("call panicked", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			reply, delivered = s.terminal(unknownStep, panicked(outputs, cause)), undelivered
		}
	}()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return s.terminal(unknownStep, failed(nil, fmt.Sprintf("reading the call: %v", err))), undelivered
	}
	call, ours, err := decodeCall(body)
	if err != nil {
		s.log.Warn("call cannot be read", "error", err.Error())
		return s.terminal(unknownStep, failed(call.declared, err.Error())), undelivered
	}
	if !ours {
		return executor.ExecuteTemplateReply{}, undelivered
	}
	outputs, call.release = call.declared, s.release
	if err := checkAPIVersion(call); err != nil {
		s.log.With(call.attributes()...).Warn("call refused", "error", err.Error())
		return s.terminal(unknownStep, failed(outputs, err.Error())), undelivered
	}
	step, err := s.steps.find(call)
	if err != nil {
		s.log.With(call.attributes()...).Warn("call refused", "error", err.Error())
		return s.terminal(unknownStep, failed(outputs, err.Error())), undelivered
	}
	outputs = allOutputs(step, call)
	execution, err := prepare(step, call)
	if err != nil {
		s.log.With(call.attributes()...).Warn("call refused", "error", err.Error())
		return s.terminal(step.Name(), failed(outputs, err.Error())), undelivered
	}
	return s.join(r.Context(), call, step, execution)
}

// prepare decodes the call of a step, and completes the key of its execution.
func prepare(step Step, call Call) (Execution, error) {
	if call.Node == "" {
		return Execution{}, fmt.Errorf(`step %q is called without a node: set node: "{{node.name}}" in the `+
			"template's plugin object", call.Step)
	}
	if err := checkDeclared(step, call); err != nil {
		return Execution{}, err
	}
	execution, err := step.Prepare(call)
	if err != nil {
		return Execution{}, err
	}
	if execution.Key == "" {
		execution.Key = fmt.Sprintf("%q %q %q", call.Workflow.UID, call.Node, call.Attempt)
	}
	execution.Key = step.Name() + " " + execution.Key
	return execution, nil
}

// join answers a call from its run. It waits for the run no longer than waitLimit allows.
func (s *Server) join(ctx context.Context, call Call, step Step,
	execution Execution,
) (executor.ExecuteTemplateReply, func()) {
	id := identify(call, execution.Key)
	s.last.Store(&call.Workflow)
	ctx, stop := s.waitLimit(ctx)
	defer stop()
	for {
		met := s.runs.join(id, call, step, execution)
		switch {
		case met.answered != nil:
			return s.settled(id, step, met.answered)
		case met.recheck != nil:
			if s.canceller.staysCancelled(context.WithoutCancel(ctx), call) {
				return s.settled(id, step, met.recheck)
			}
			s.runs.forget(id)
		case met.waitFor != nil:
			select {
			case <-met.waitFor:
			case <-ctx.Done():
				return s.running(step, "waiting for a cancelled run of the same work to end", 0), undelivered
			}
		case met.waiter != nil:
			return s.await(ctx, id, step, met.waiter)
		}
	}
}

// await returns the answer when the waiter is settled, and Running when ctx ends first.
func (s *Server) await(ctx context.Context, id identity, step Step, w *waiter) (executor.ExecuteTemplateReply,
	func(),
) {
	select {
	case <-w.settled:
		return s.settled(id, step, w)
	case <-ctx.Done():
	}
	message, age := s.runs.progress(id.key)
	select {
	case <-w.settled: // it ended just now, which also may have left no message
		return s.settled(id, step, w)
	default:
		return s.running(step, message, age), undelivered
	}
}

// waitLimit bounds how long a call waits. When maxWaiting calls wait already, it is crowdedWait.
func (s *Server) waitLimit(ctx context.Context) (context.Context, context.CancelFunc) {
	select {
	case s.waiting <- struct{}{}:
		ctx, cancel := context.WithTimeout(ctx, s.timing.Wait)
		return ctx, func() {
			cancel()
			<-s.waiting
		}
	default:
		return context.WithTimeout(ctx, crowdedWait)
	}
}

// crowdedWait lets work that ends at once, such as finding an answer, end within its first call.
const crowdedWait = 50 * time.Millisecond

// settled returns a waiter's answer. A detached one has none, and Argo is asked to call again: by then there is another
// plugin. The agent of our own pod ignores SIGTERM and goes on calling until it is killed; a refusal would make it fail
// a step whose work goes on.
func (s *Server) settled(id identity, step Step, w *waiter) (executor.ExecuteTemplateReply, func()) {
	if w.detached {
		return s.running(step, "the plugin is shutting down; the next one continues this step", s.timing.LateAfter),
			undelivered
	}
	return s.terminal(step.Name(), w.answer), func() { s.runs.delivered(id, w) }
}

func (s *Server) terminal(step string, a answer) executor.ExecuteTemplateReply {
	s.metrics.calls.WithLabelValues(step, string(a.phase)).Inc()
	return a.reply(0)
}

func (s *Server) running(step Step, message string, age time.Duration) executor.ExecuteTemplateReply {
	s.metrics.calls.WithLabelValues(step.Name(), string(wfv1.NodeRunning)).Inc()
	requeue := s.timing.Requeue
	if age >= s.timing.LateAfter {
		requeue = s.timing.RequeueLate
	}
	return running(message).reply(requeue)
}
