package state_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/internal/state"
	"argosy.dev/argosy/pkg/errclass"
)

// evaluated is the status that changes make, at a time.
func evaluated(now time.Time, changes ...state.Change) state.Status {
	var held state.Status
	for _, change := range changes {
		change(&held)
	}
	held.Evaluate(now)
	return held
}

func observed(name string, machine state.MachineState) state.Change {
	return state.Observed(state.Observation{Machine: name, Node: name, State: machine, Message: "why"}, at)
}

func TestConditionsFollowWhatWasRecorded(t *testing.T) {
	hosted := state.Described(state.Documents{
		Hosted: true, WantedVersion: "v1.35.1", ControlPlaneVersion: "v1.34.4", Machines: []string{"m1", "m2"},
	})
	one := func(machine state.MachineState) []state.Change { return []state.Change{observed("m1", machine)} }
	joined := state.Described(state.Documents{ControlPlaneVersion: "v1.34.4", Machines: []string{"m1", "m2"}})
	for name, tt := range map[string]struct {
		changes []state.Change
		kind    string
		want    string
	}{
		"nothing":        {nil, state.ConditionReady, "Unknown NothingKnown"},
		"all Ready":      {one(state.Ready), state.ConditionReady, "True MachinesReady"},
		"one not Ready":  {one(state.NotReady), state.ConditionReady, "False MachinesNotReady"},
		"one refused":    {one(state.Refused), state.ConditionReady, "False MachinesNotReady"},
		"one not joined": {one(state.Pending), state.ConditionReady, "False MachinesPending"},
		"one worked on": {
			[]state.Change{state.Began("m1", "join", at)}, state.ConditionReady, "False MachinesWorking",
		},
		"only a backup": {[]state.Change{operated("backup", true, 0)}, state.ConditionReady, "True MachinesReady"},
		"removed counts not": {
			[]state.Change{observed("m1", state.Ready), observed("m2", state.Removed)},
			state.ConditionReady, "True MachinesReady",
		},
		"a failed control plane": {
			[]state.Change{observed("m1", state.Ready), operated("provision-addons", false, 0)},
			state.ConditionReady, "False ControlPlaneFailed",
		},
		"a control plane that recovered": {
			[]state.Change{operated("provision-addons", false, 0), operated("provision-verify", true, time.Minute)},
			state.ConditionReady, "True MachinesReady",
		},
		"no drift": {one(state.Ready), state.ConditionDrifted, "False AsWanted"},
		"a drift": {
			[]state.Change{state.Observed(state.Observation{Machine: "m1", State: state.Ready, Drifted: true}, at)},
			state.ConditionDrifted, "True MachinesDiffer",
		},
		"a control plane behind the documents": {
			[]state.Change{hosted}, state.ConditionUpgradeAvailable, "True ControlPlaneBehind",
		},
		"a machine behind": {
			[]state.Change{joined, atVersion("m1", "v1.34.3")}, state.ConditionUpgradeAvailable, "True MachinesBehind",
		},
		"machines at the version": {
			[]state.Change{joined, atVersion("m1", "v1.34.4")}, state.ConditionUpgradeAvailable, "False AtVersion",
		},
		"a version not known": {nil, state.ConditionUpgradeAvailable, "Unknown NothingKnown"},
		"certificates that hold": {
			[]state.Change{state.CertificateEnds("a", at.Add(31*24*time.Hour))},
			state.ConditionCertificatesExpiring, "False FarFromTheirEnd",
		},
		"one certificate that ends": {
			[]state.Change{
				state.CertificateEnds("a", at.Add(99*24*time.Hour)),
				state.CertificateEnds("b", at.Add(29*24*time.Hour)),
			},
			state.ConditionCertificatesExpiring, "True EndsSoon",
		},
		"no certificate": {nil, state.ConditionCertificatesExpiring, "Unknown NothingKnown"},
		"a renewed one": {
			[]state.Change{state.CertificateEnds("a", at), state.CertificateEnds("a", at.AddDate(1, 0, 0))},
			state.ConditionCertificatesExpiring, "False FarFromTheirEnd",
		},
		"no backup":           {[]state.Change{hosted}, state.ConditionBackupFresh, "False NoBackup"},
		"no backup by Argosy": {[]state.Change{joined}, state.ConditionBackupFresh, "Unknown NotHosted"},
		"a fresh backup": {
			[]state.Change{hosted, backedUp(25 * time.Hour)}, state.ConditionBackupFresh, "True Fresh",
		},
		"an old backup": {
			[]state.Change{hosted, backedUp(27 * time.Hour)}, state.ConditionBackupFresh, "False TooOld",
		},
	} {
		t.Run(name, func(t *testing.T) {
			held := evaluated(at, tt.changes...)
			condition := meta.FindStatusCondition(held.Conditions, tt.kind)
			assert.Equal(t, string(condition.Status)+" "+condition.Reason, tt.want, condition.Message)
		})
	}
}

func operated(name string, succeeded bool, after time.Duration) state.Change {
	return state.Operated(state.Operation{Name: name, Succeeded: succeeded, When: metav1.NewTime(at.Add(after))})
}

func atVersion(name, version string) state.Change {
	return state.Observed(state.Observation{Machine: name, State: state.Ready, Version: version}, at)
}

func backedUp(ago time.Duration) state.Change {
	return state.BackedUp(state.Backup{Archive: "a.tar", When: metav1.NewTime(at.Add(-ago))})
}

func TestARowFollowsItsMachine(t *testing.T) {
	end := func(operation string, after state.MachineState) state.Change {
		return state.Ended(state.End{
			Machine: "m1", Operation: operation, State: after, Version: "v1.34.4", Message: "one\ntwo", At: at,
			Took: 90 * time.Second,
		})
	}
	drifted := state.Observed(state.Observation{Machine: "m1", Node: "n1", State: state.Ready, Drifted: true}, at)
	for name, tt := range map[string]struct {
		changes []state.Change
		want    string
	}{
		"joined":     {[]state.Change{end("join", state.Ready)}, "Ready join v1.34.4 90s"},
		"failed":     {[]state.Change{end("join", state.Failed)}, "Failed join v1.34.4 90s one"},
		"reconciled": {[]state.Change{drifted, end("reconcile", state.Ready)}, "Ready reconcile v1.34.4 90s"},
		"upgraded, and drifted still": {
			[]state.Change{drifted, end("upgrade", state.Ready)}, "Ready upgrade v1.34.4 90s drifted",
		},
		"removed": {[]state.Change{drifted, end("remove", state.Removed)}, "Removed remove  90s"},
		"imported": {
			[]state.Change{drifted, end("import-images", "")}, "Ready import-images  90s drifted",
		},
		"imported after a failure": {
			[]state.Change{end("import-images", state.Failed), end("import-images", "")},
			"Ready import-images v1.34.4 90s",
		},
		"not imported after a failed join": {
			[]state.Change{end("join", state.Failed), end("import-images", "")}, "Failed import-images v1.34.4 90s one",
		},
		"interrupted": {
			[]state.Change{state.Began("m1", "join", at), state.Settled(at)},
			"Failed join  0s the workflow ended before the operation did",
		},
		"ended before the summary": {
			[]state.Change{end("join", state.Ready), state.Settled(at)}, "Ready join v1.34.4 90s",
		},
		"failed, and found as wanted": {
			[]state.Change{end("join", state.Failed), observed("m1", state.Ready)}, "Ready join v1.34.4 90s",
		},
		"its version is read by an upgrade": {
			[]state.Change{drifted, state.Checked(state.Observation{Machine: "m1", Version: "v1"}, at)},
			"Ready  v1 0s drifted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			row := evaluated(at, tt.changes...).Machines[0]
			text := fmt.Sprintf("%s %s %s %ds", row.State, row.Operation, row.Version, row.Seconds)
			if row.Drifted {
				text += " drifted"
			} else if row.Message != "" {
				text += " " + row.Message
			}
			assert.Equal(t, text, tt.want)
		})
	}
}

func TestMachinesThatLeftTheDocumentsLoseTheirRows(t *testing.T) {
	held := evaluated(at, observed("m3", state.Ready), observed("m1", state.Ready), observed("m2", state.Ready),
		state.Described(state.Documents{Machines: []string{"m2", "m3", "m4"}}))
	names := []string{}
	for _, row := range held.Machines {
		names = append(names, row.Name)
	}
	assert.DeepEqual(t, names, []string{"m2", "m3"})
	assert.Equal(t, held.Summary, "2/2")
}

func TestARolloutCountsItsMachines(t *testing.T) {
	upgraded := func(name string, after state.MachineState, version string, late time.Duration) state.Change {
		return state.Ended(state.End{
			Machine: name, Operation: state.OperationUpgrade, State: after, Version: version, At: at.Add(late),
		})
	}
	held := evaluated(at,
		upgraded("before", state.Ready, "v1.34.4", -time.Hour),
		state.RolloutBegan(state.Rollout{Version: "v1.34.4", Started: metav1.NewTime(at), Machines: 4, Waves: 2}),
		upgraded("done", state.Ready, "v1.34.4", time.Minute), upgraded("failed", state.Failed, "", time.Minute),
		upgraded("left", state.Ready, "v1.34.3", time.Minute), state.WaveEnded("canary", "too many failures"))
	assert.DeepEqual(t, *held.Rollout, state.Rollout{
		Version: "v1.34.4", Started: metav1.NewTime(at), Machines: 4, Waves: 2, Wave: "canary", Upgraded: 1, Failed: 1,
		Halted: "too many failures",
	})
}

// A field that the definition lacks would be dropped by the API server without a word.
func TestTheDefinitionHasEveryField(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "install", "crd", "clusterstates.argosy.dev.yaml"))
	assert.NilError(t, err)
	var definition struct {
		Spec struct {
			Versions []struct {
				Name   string `json:"name"`
				Schema struct {
					Schema property `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	assert.NilError(t, yaml.Unmarshal(text, &definition))
	assert.Equal(t, definition.Spec.Versions[0].Name, state.Resource.Version)
	schema := definition.Spec.Versions[0].Schema.Schema.Properties["status"]
	checkFields(t, "status", reflect.TypeFor[state.Status](), schema)
	var states []string
	for _, one := range state.MachineStates {
		states = append(states, string(one))
	}
	assert.DeepEqual(t, schema.Properties["machines"].Items.Properties["state"].Enum, states)
}

type property struct {
	Type       string              `json:"type"`
	Enum       []string            `json:"enum"`
	Properties map[string]property `json:"properties"`
	Items      *property           `json:"items"`
}

func checkFields(t *testing.T, path string, of reflect.Type, schema property) {
	t.Helper()
	switch {
	case of == reflect.TypeFor[metav1.Time]():
		assert.Equal(t, schema.Type, "string", path)
		return
	case of.Kind() == reflect.Pointer:
		checkFields(t, path, of.Elem(), schema)
		return
	case of.Kind() == reflect.Slice:
		assert.Equal(t, schema.Type, "array", path)
		checkFields(t, path+"[]", of.Elem(), *schema.Items)
		return
	case of.Kind() == reflect.Float64:
		assert.Equal(t, schema.Type, "number", path)
		return
	case of.Kind() != reflect.Struct:
		want := map[reflect.Kind]string{reflect.String: "string", reflect.Bool: "boolean"}[of.Kind()]
		assert.Check(t, schema.Type == want || want == "" && schema.Type == "integer", "%s is %q", path, schema.Type)
		return
	}
	var names []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		one, found := schema.Properties[name]
		assert.Check(t, found, "%s.%s is not defined", path, name)
		if found {
			checkFields(t, path+"."+name, of.Field(i).Type, one)
		}
		names = append(names, name)
	}
	for name := range schema.Properties {
		assert.Check(t, slices.Contains(names, name), "%s.%s is no field", path, name)
	}
}

func TestAStatusIsReadAsItWasWritten(t *testing.T) {
	held := evaluated(at, observed("m1", state.Refused), backedUp(time.Hour), operated("backup", true, 0),
		state.CertificateEnds("a", at),
		state.RolloutBegan(state.Rollout{Version: "v1.34.4", Started: metav1.NewTime(at)}))
	text, err := json.Marshal(held)
	assert.NilError(t, err)
	var read state.Status
	assert.NilError(t, json.Unmarshal(text, &read))
	again, err := json.Marshal(read)
	assert.NilError(t, err)
	assert.Equal(t, string(again), string(text))
}

func TestTotalsSumUpTheOperationsOfAKind(t *testing.T) {
	end := func(operation string, failed errclass.Class, phases ...state.PhaseTotal) state.Change {
		return state.Ended(state.End{
			Machine: "m1", Operation: operation, At: at, Failed: failed, Bytes: 10, Phases: phases,
			Retries: map[errclass.Class]int{errclass.Transient: 1},
		})
	}
	phase := func(name string, seconds float64) state.PhaseTotal {
		return state.PhaseTotal{Name: name, Count: 1, Seconds: seconds}
	}
	skipped := state.Ended(state.End{Machine: "m1", Operation: "reset", At: at, Skipped: true})
	held := evaluated(at, end("upgrade", "", phase("drain", 1.5), phase("kubelet", 2)), end("join", ""), skipped,
		end("upgrade", errclass.Permanent, phase("kubelet", 3)), end("upgrade", errclass.Cancelled))
	retries := func(number int64) []state.ClassTotal { return []state.ClassTotal{{Class: "transient", Count: number}} }
	assert.DeepEqual(t, held.Totals, []state.Total{
		{Operation: "join", Succeeded: 1, Retries: retries(1), Bytes: 10},
		{
			Operation: "upgrade", Succeeded: 1, Failed: []state.ClassTotal{{"cancelled", 1}, {"permanent", 1}},
			Retries: retries(3), Bytes: 30,
			Phases: []state.PhaseTotal{{"drain", 1, 1.5}, {"kubelet", 2, 5}},
		},
	})
}

// A conflict has changes applied twice, to two readings of one status.
func TestTotalsOfAnEarlierStatusStay(t *testing.T) {
	change := state.Ended(state.End{
		Machine: "m1", Operation: "join", At: at, Failed: errclass.Transient,
		Phases: []state.PhaseTotal{{"kubelet", 1, 1}},
	})
	first := evaluated(at, change)
	second := first
	change(&second)
	assert.DeepEqual(t, first.Totals, evaluated(at, change).Totals)
	assert.Equal(t, second.Totals[0].Phases[0].Count, int64(2))
}
