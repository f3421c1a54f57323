package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"gotest.tools/v3/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/state"
)

// keptStates is a stateLister.
type keptStates []state.State

func (k keptStates) List(context.Context, string) ([]state.State, error) { return k, nil }

func twoClusters() keptStates {
	at := time.Now().Add(-90 * time.Minute)
	var status state.Status
	for _, change := range []state.Change{
		state.Described(state.Documents{Hosted: true, ControlPlaneVersion: "v1.34.4", Machines: []string{"m1", "m2"}}),
		state.BackedUp(state.Backup{Archive: "a", When: metav1.NewTime(at)}),
		state.Observed(state.Observation{Machine: "m1", Node: "n1", Version: "v1.34.3", State: state.Ready}, at),
		state.Ended(state.End{
			Machine: "m2", Operation: "join", State: state.Failed, Message: "no disk", At: at, Took: time.Minute,
		}),
	} {
		change(&status)
	}
	status.Evaluate(at)
	return keptStates{
		{Namespace: "team-a", Cluster: "a", Status: status}, {Namespace: "team-b", Cluster: "b"},
	}
}

func got(t *testing.T, request getRequest, print statePrinter) string {
	t.Helper()
	var out bytes.Buffer
	command := &cobra.Command{}
	command.SetContext(t.Context())
	command.SetOut(&out)
	assert.NilError(t, request.run(command, twoClusters(), print))
	return out.String()
}

// fields are the cells of each line.
func fields(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

func TestGetShowsClustersAndMachinesAsTables(t *testing.T) {
	assert.DeepEqual(t, fields(got(t, getRequest{output: &outputFormat{chosen: "table"}}, printClusters)), []string{
		"NAMESPACE CLUSTER READY MACHINES VERSION DRIFTED UPGRADE BACKUP",
		"team-a a False 1/2 v1.34.4 False True 90m", "team-b b - - - - - -",
	})
	assert.DeepEqual(t, fields(got(t, getRequest{output: &outputFormat{chosen: "wide"}}, printClusters)), []string{
		"NAMESPACE CLUSTER READY MACHINES VERSION DRIFTED UPGRADE BACKUP CERTIFICATES REASON",
		"team-a a False 1/2 v1.34.4 False True 90m Unknown 1 machine not Ready: m2", "team-b b - - - - - - - -",
	})
	assert.DeepEqual(t, fields(got(t, getRequest{output: &outputFormat{chosen: "table"}}, printMachines)), []string{
		"NAMESPACE CLUSTER MACHINE STATE VERSION DRIFTED LAST AGO",
		"team-a a m1 Ready v1.34.3 false - 90m", "team-a a m2 Failed - false join 90m",
	})
	assert.DeepEqual(t, fields(got(t, getRequest{output: &outputFormat{chosen: "wide"}}, printMachines))[2],
		"team-a a m2 Failed - false join 90m - 60 no disk")
}

func TestGetShowsTheSameAsJSONAndYAML(t *testing.T) {
	request := getRequest{output: &outputFormat{chosen: "json"}}
	request.location.cluster = "a"
	for format, decode := range map[string]func(string, any) error{
		"json": func(text string, into any) error { return json.Unmarshal([]byte(text), into) },
		"yaml": func(text string, into any) error { return yaml.UnmarshalStrict([]byte(text), into) },
	} {
		request.output.chosen = format
		var states []state.State
		assert.NilError(t, decode(got(t, request, printMachines), &states))
		assert.Equal(t, len(states), 1)
		assert.Equal(t, states[0].Status.Machines[1].Message, "no disk")
	}
}

func TestGetRefusesUnclearCommandLines(t *testing.T) {
	for want, args := range map[string][]string{
		"--namespace or --all-namespaces": {"get", "clusters"},
		"exclude each other":              {"get", "machines", "-A", "-n", "team-a"},
		"only table, wide, json and yaml": {"get", "machine", "-A", "-o", "jsno"},
		`unknown command "clutser"`:       {"get", "clutser"},
	} {
		_, code, err := run(t, args...)
		assert.ErrorContains(t, err, want)
		assert.Equal(t, code, program.ExitConfiguration)
	}
	request := getRequest{output: &outputFormat{chosen: "table"}}
	request.location.cluster = "c"
	command := &cobra.Command{}
	command.SetContext(t.Context())
	assert.ErrorContains(t, request.run(command, twoClusters(), printClusters), `cluster "c"`)
}

func TestGetTellsThatThereIsNothing(t *testing.T) {
	for want, request := range map[string]getRequest{
		`no states of clusters in namespace "nosuch"`: {location: clusterFlags{namespace: "nosuch"}},
		"no states of clusters in any namespace":      {all: true},
	} {
		var out, told bytes.Buffer
		command := &cobra.Command{}
		command.SetContext(t.Context())
		command.SetOut(&out)
		command.SetErr(&told)
		request.output = &outputFormat{chosen: "table"}
		assert.NilError(t, request.run(command, noClusters{}, printClusters))
		assert.Assert(t, strings.HasPrefix(told.String(), want), told.String())
		assert.Equal(t, out.String(), "")
		request.output.chosen = "json"
		assert.NilError(t, request.run(command, noClusters{}, printClusters))
		assert.Equal(t, out.String(), "[]\n", "programs get a list")
	}
}

type noClusters struct{}

func (noClusters) List(context.Context, string) ([]state.State, error) { return nil, nil }
