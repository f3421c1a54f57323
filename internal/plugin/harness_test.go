package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/plugins/executor"
	"gotest.tools/v3/assert"
)

const testToken = "0123456789abcdefghijklmnopqrstuv"

// scriptedStep is a step whose work a test writes.
type scriptedStep struct {
	name    string
	outputs []string
	prepare func(Call) (Execution, error)
}

func (s scriptedStep) Name() string                         { return s.name }
func (s scriptedStep) Outputs() []string                    { return s.outputs }
func (s scriptedStep) Prepare(call Call) (Execution, error) { return s.prepare(call) }

// work is a step named "work" with outputs b and a, in that order, whose key is its input "key".
func work(run func(ctx context.Context, report func(string)) (Result, error)) Step {
	return scriptedStep{name: "work", outputs: []string{"b", "a"}, prepare: func(call Call) (Execution, error) {
		var inputs struct {
			Key     string `json:"key"`
			Cluster string `json:"cluster"`
			Machine string `json:"machine"`
		}
		if err := call.Decode(&inputs); err != nil {
			return Execution{}, err
		}
		return Execution{Key: inputs.Key, Run: run}, nil
	}}
}

// endings is work whose runs wait until a test ends them, one after the other.
type endings struct {
	mutex  sync.Mutex
	starts int
	causes []error
	end    chan Result
	// deaf work ends only when told to, also after cancellation.
	deaf bool
}

func newEndings() *endings { return &endings{end: make(chan Result)} }

func (e *endings) step() Step {
	return work(func(ctx context.Context, report func(string)) (Result, error) {
		e.mutex.Lock()
		e.starts++
		e.mutex.Unlock()
		report("[1/2 half] half of it · 3s")
		cancelled := ctx.Done()
		if e.deaf {
			cancelled = nil
		}
		select {
		case result := <-e.end:
			if cause := context.Cause(ctx); cause != nil {
				e.note(cause)
			}
			return result, nil
		case <-cancelled:
			e.note(context.Cause(ctx))
			return Result{}, context.Cause(ctx)
		}
	})
}

func (e *endings) note(cause error) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.causes = append(e.causes, cause)
}

func (e *endings) started() int {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.starts
}

// scriptedObserver returns the observations that a test sets.
type scriptedObserver struct {
	mutex sync.Mutex
	seen  map[string]observation // by workflow name; missing: wanted
	err   error
}

func (w *scriptedObserver) observe(_ context.Context, workflow Workflow) (observation, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.seen[workflow.Name], w.err
}

func (w *scriptedObserver) see(workflow string, seen observation) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.seen == nil {
		w.seen = map[string]observation{}
	}
	w.seen[workflow] = seen
}

func newServer(t *testing.T, options Options) *Server {
	t.Helper()
	if options.TokenFile == "" {
		options.TokenFile = filepath.Join(t.TempDir(), "token")
		assert.NilError(t, os.WriteFile(options.TokenFile, []byte(testToken), 0o400))
	}
	server, err := NewServer(options)
	assert.NilError(t, err)
	return server
}

// body is a call as the agent sends it.
func body(workflow, node, key string) string {
	return fmt.Sprintf(`{"workflow":{"metadata":{"name":%q,"namespace":"team-a","uid":"uid-of-%s"}},`+
		`"template":{"name":"t","inputs":{},"outputs":{},"metadata":{},"plugin":{"argosy":{"step":"work","node":%q,"key":%q}},"retryStrategy":{"limit":"1"}}}`,
		workflow, workflow, node, key)
}

type response struct {
	status int
	text   string
	reply  executor.ExecuteTemplateReply
}

func (r response) phase() wfv1.NodePhase {
	if r.reply.Node == nil {
		return ""
	}
	return r.reply.Node.Phase
}

func (r response) message() string {
	if r.reply.Node == nil {
		return ""
	}
	return r.reply.Node.Message
}

func call(t *testing.T, server *Server, body string) response {
	t.Helper()
	return callWith(t, server, body, "Bearer "+testToken)
}

func callWith(t *testing.T, server *Server, body, authorization string) response {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "/api/v1/template.execute", strings.NewReader(body))
	request.Header.Set("Authorization", authorization)
	recorder := httptest.NewRecorder()
	server.handler.ServeHTTP(recorder, request)
	got := response{status: recorder.Code, text: recorder.Body.String()}
	if got.status == http.StatusOK {
		assert.NilError(t, json.Unmarshal(recorder.Body.Bytes(), &got.reply))
	}
	return got
}

// lostCall is answered, but its caller has hung up.
func lostCall(server *Server, body string) {
	ctx, hangUp := context.WithCancel(context.Background())
	request := httptest.NewRequest(http.MethodPost, "/api/v1/template.execute",
		strings.NewReader(body)).WithContext(ctx)
	request.Header.Set("Authorization", "Bearer "+testToken)
	server.handler.ServeHTTP(brokenWriter{httptest.NewRecorder()}, request)
	hangUp()
}

type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("connection reset by peer") }
