package plugin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/argoproj/argo-workflows/v3/pkg/plugins/executor"
	"gotest.tools/v3/assert"
)

func TestInputsAreTheOtherFieldsOfThePluginObject(t *testing.T) {
	call, err := NewCall(Workflow{Name: "wf"}, "join",
		[]byte(`{"step":"join","node":"wf[0].a","attempt":"2","machine":"m1"}`))
	assert.NilError(t, err)
	assert.Equal(t, call.Step, "join")
	assert.Equal(t, call.Node, "wf[0].a")
	assert.Equal(t, call.Attempt, "2")
	var inputs struct {
		Machine string `json:"machine"`
	}
	assert.NilError(t, call.Decode(&inputs))
	assert.Equal(t, inputs.Machine, "m1")

	var other struct {
		Cluster string `json:"cluster"`
	}
	assert.ErrorContains(t, call.Decode(&other), `decoding the inputs of step "join": unknown field "machine"`)
}

func TestACallWithoutInputsDecodesToNothing(t *testing.T) {
	var inputs struct {
		Machine string `json:"machine"`
	}
	assert.NilError(t, Call{}.Decode(&inputs))
}

// FuzzACallNeverEndsWithoutAPhase asks with whatever bytes: the answer is 200 with a phase, or {} for others' steps.
func FuzzACallNeverEndsWithoutAPhase(f *testing.F) {
	for _, seed := range []string{
		body("wf", "wf[0].a", "k"),
		`{"workflow":{"metadata":{}},"template":{"plugin":{"argosy":{"step":"work","node":"n","key":1}}}}`,
		`{"template":{"plugin":{"argosy":[]}}}`, `{"template":{"plugin":null}}`, `{"template":{"plugin":{}}}`,
		`{"template":{"plugin":{"argosy":{"step":"work","step":"x","node":"n"}}},"workflow":null}`, "\x00",
		`{"a":` + strings.Repeat("[", 20000),
	} {
		f.Add([]byte(seed))
	}
	tokens := filepath.Join(f.TempDir(), "token")
	assert.NilError(f, os.WriteFile(tokens, []byte(testToken), 0o400))
	server, err := NewServer(Options{Steps: []Step{ends(Result{Phase: Succeeded}, nil)}, TokenFile: tokens})
	assert.NilError(f, err)
	f.Fuzz(func(t *testing.T, asked []byte) {
		request := httptest.NewRequest(http.MethodPost, "/api/v1/template.execute", strings.NewReader(string(asked)))
		request.Header.Set("Authorization", "Bearer "+testToken)
		recorder := httptest.NewRecorder()
		server.handler.ServeHTTP(recorder, request)
		assert.Equal(t, recorder.Code, http.StatusOK)
		var reply executor.ExecuteTemplateReply
		assert.NilError(t, json.Unmarshal(recorder.Body.Bytes(), &reply))
		if reply.Node == nil {
			assert.Equal(t, recorder.Body.String(), "{}")
			return
		}
		assert.Assert(t, reply.Node.Phase != "" && reply.Node.Message != "", recorder.Body.String())
		assert.Assert(t, reply.Requeue == nil)
	})
}
