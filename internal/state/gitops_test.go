package state_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/state"
)

// gitOpsCases are states and how Argo CD and Flux show them.
var gitOpsCases = map[string]struct {
	changes []state.Change
	argoCD  string
	flux    status.Status
}{
	"nothing known": {nil, "Progressing", status.InProgressStatus},
	"a machine Ready": {
		[]state.Change{state.Observed(state.Observation{Machine: "m1", State: state.Ready}, at)},
		"Healthy", status.CurrentStatus,
	},
	"a machine drifted": {
		[]state.Change{state.Observed(state.Observation{Machine: "m1", State: state.Ready, Drifted: true}, at)},
		"Healthy", status.CurrentStatus,
	},
	"a machine that joins": {
		[]state.Change{state.Began("m1", state.OperationJoin, at)}, "Progressing", status.InProgressStatus,
	},
	"a machine not joined": {
		[]state.Change{state.Observed(state.Observation{Machine: "m1", State: state.Pending}, at)},
		"Progressing", status.InProgressStatus,
	},
	"a machine refused": {
		[]state.Change{state.Observed(state.Observation{Machine: "m1", State: state.Refused, Message: "no"}, at)},
		"Degraded", status.FailedStatus,
	},
	"a control plane that failed": {
		[]state.Change{state.Operated(state.Operation{Name: "provision-control-plane", When: metav1.NewTime(at)})},
		"Degraded", status.FailedStatus,
	},
}

var at = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// object is a ClusterState with the state that changes make.
func object(t *testing.T, changes []state.Change) *unstructured.Unstructured {
	t.Helper()
	var held state.Status
	held.ObservedGeneration = 1
	for _, change := range changes {
		change(&held)
	}
	held.Evaluate(at)
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "argosy.dev/v1alpha1", "kind": "ClusterState",
		"metadata": map[string]any{"name": "team-a", "namespace": "team-a", "generation": 1}, "status": held,
	})
	assert.NilError(t, err)
	var values map[string]any
	assert.NilError(t, yaml.Unmarshal(text, &values))
	values["metadata"].(map[string]any)["generation"] = int64(1)
	values["status"].(map[string]any)["observedGeneration"] = int64(1)
	return &unstructured.Unstructured{Object: values}
}

func TestFluxTellsAReadyClusterFromAFailedOne(t *testing.T) {
	for name, tt := range gitOpsCases {
		t.Run(name, func(t *testing.T) {
			result, err := status.Compute(object(t, tt.changes))
			assert.NilError(t, err)
			assert.Equal(t, result.Status, tt.flux, result.Message)
		})
	}
}

// A state that was written before the object changed is not that of the object.
func TestFluxWaitsForAStateOfTheObjectsGeneration(t *testing.T) {
	held := object(t, gitOpsCases["a machine Ready"].changes)
	held.SetGeneration(2)
	result, err := status.Compute(held)
	assert.NilError(t, err)
	assert.Equal(t, result.Status, status.InProgressStatus)
}

func TestArgoCDTellsAReadyClusterFromAFailedOne(t *testing.T) {
	script := healthScript(t)
	for name, tt := range gitOpsCases {
		t.Run(name, func(t *testing.T) {
			health, message := runHealthScript(t, script, object(t, tt.changes).Object)
			assert.Equal(t, health, tt.argoCD, message)
			assert.Assert(t, message != "")
		})
	}
	t.Run("no status yet", func(t *testing.T) {
		health, _ := runHealthScript(t, script, map[string]any{"kind": "ClusterState"})
		assert.Equal(t, health, "Progressing")
	})
}

// healthScript is the script of the patch that users apply.
func healthScript(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "install", "gitops", "argocd-health.yaml"))
	assert.NilError(t, err)
	var patch struct {
		Data map[string]string `json:"data"`
	}
	assert.NilError(t, yaml.UnmarshalStrict(text, &patch))
	script := patch.Data["resource.customizations.health.argosy.dev_ClusterState"]
	assert.Assert(t, script != "")
	return script
}

// runHealthScript runs a script as Argo CD does: in a Lua machine without libraries but those that Argo CD opens, with
// the object in the global obj.
func runHealthScript(t *testing.T, script string, object map[string]any) (health, message string) {
	t.Helper()
	machine := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer machine.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		assert.NilError(t, machine.CallByParam(lua.P{Fn: machine.NewFunction(library.open), Protect: true},
			lua.LString(library.name)))
	}
	machine.SetGlobal("obj", luaValue(machine, object))
	assert.NilError(t, machine.DoString(script))
	result, is := machine.Get(-1).(*lua.LTable)
	assert.Assert(t, is, "the script returns no table")
	return result.RawGetString("status").String(), result.RawGetString("message").String()
}

func luaValue(machine *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := machine.NewTable()
		for key, one := range value {
			table.RawSetString(key, luaValue(machine, one))
		}
		return table
	case []any:
		table := machine.NewTable()
		for _, one := range value {
			table.Append(luaValue(machine, one))
		}
		return table
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	case int64:
		return lua.LNumber(value)
	}
	return lua.LNil
}
