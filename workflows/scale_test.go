package workflows_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// maxObject bounds each object that Argo stores for a workflow of ours, in bytes; etcd and the API server take 1.5 MiB.
const maxObject = 1 << 20

// maxDepth is how many templates within each other Argo allows.
const maxDepth = 100

// scaledWorkflow is a workflow that fans out over machines.
type scaledWorkflow struct {
	template string
	// joined machines are nodes before, at the version.
	joined  bool
	version string
	with    map[string]string
	// kind of the operation that each machine has once, and done its participle in the summary.
	kind spec.Kind
	done string
	// percent of the machines, and number, that may be at work at once.
	percent, number int
	// numbers of machines that it is run with.
	numbers []int
}

var scaled = []scaledWorkflow{
	{"join", false, "", nil, spec.KindJoin, "joined", 0, 20, []int{10, 100, 1000, 5000}},
	{"reconcile", true, newVersion, nil, spec.KindJoin, "reconciled", 0, 20, []int{10, 100, 1000}},
	{
		"import-images", true, newVersion,
		map[string]string{"images": "/srv/images"},
		spec.KindImages,
		"supplied with images", 0, 20,
		[]int{10, 100, 1000},
	},
	{"reset", true, newVersion, allMachines, spec.KindReset, "reset", 0, 20, []int{10, 100, 1000}},
	{"remove", true, newVersion, allMachines, spec.KindReset, "removed", 0, 20, []int{10, 100, 1000}},
	{
		"upgrade", true, oldVersion,
		map[string]string{"version": newVersion},
		spec.KindUpgrade, "upgraded", 20, 20,
		[]int{10, 100, 200},
	},
}

// allMachines is the parameter of workflows that take machines away, and take none by default.
var allMachines = map[string]string{"machines": "all"}

func TestObjectsOfWorkflowsStaySmallWithManyMachines(t *testing.T) {
	for _, test := range scaled {
		for _, number := range test.numbers {
			t.Run(fmt.Sprintf("%s of %d", test.template, number), func(t *testing.T) { test.run(t, number) })
		}
	}
}

// An upgrade of as many machines takes minutes here. Its steps are those of the waves in the plan.
func TestAnUpgradeOf5000MachinesIsPlannedInFewSteps(t *testing.T) {
	fleet := newFleet(t, 5000, true, oldVersion)
	argo := start(t, "upgrade", fleet, map[string]string{"cluster": "team-a", "version": newVersion, "dryRun": "true"})
	assert.Equal(t, argo.run(), wfv1.NodeSucceeded)
	outputs := map[string]string{}
	for _, output := range argo.node("plan").Outputs.Parameters {
		outputs[output.Name] = output.Value.String()
	}
	var waves []rollout.Wave
	assert.NilError(t, json.Unmarshal([]byte(outputs["waves"]), &waves))
	groups := 0
	for _, wave := range waves {
		groups += len(wave.Machines)
	}
	assert.Assert(t, len(waves) <= 40 && groups <= 100, "%d waves of %d groups", len(waves), groups)
	assert.Assert(t, len(outputs["waves"]) < 4<<10 && len(outputs["rollout"]) < 100, "each step carries them")
	assert.Assert(t, fleet.kept(t) > 0)
}

// run runs a workflow with a number of machines, of which every thirtieth fails, and checks its end and its objects.
func (test scaledWorkflow) run(t *testing.T, number int) {
	t.Helper()
	fleet := newFleet(t, number, test.joined, test.version)
	for _, machine := range fleet.machines {
		machine.differs = test.template == "reconcile"
	}
	with := map[string]string{"cluster": "team-a"}
	maps.Copy(with, test.with)
	argo := start(t, test.template, fleet, with)
	assert.Equal(t, argo.run(), wfv1.NodeFailed, "some machines fail")
	workflow, err := argo.Workflow(t.Context(), "", "")
	assert.NilError(t, err)
	stored, nodes := argo.size(workflow), argo.size(argo.nodes)
	t.Logf("%-14s %5d machines: TaskSet %7d, Workflow %7d (status.nodes %8d), parameter %6d, kept %7d, at work %d",
		test.template, number, argo.taskSet, stored, nodes, argo.parameter, fleet.kept(t), fleet.most)
	assert.Assert(t, argo.taskSet < maxObject && stored < maxObject)
	// A template of steps takes two of Argo's levels.
	assert.Assert(t, 2*argo.deepest < maxDepth, "%d templates within each other", argo.deepest)

	summary := argo.node("summary").Message
	assert.Equal(t, fleet.started[test.kind], number, "each machine was worked on once: %s", summary)
	most := max(test.number, test.percent*number/100)
	assert.Assert(t, fleet.most <= most, "%d at once, and %d are allowed", fleet.most, most)
	failing := (number + 22) / 30
	assert.Assert(t, strings.HasPrefix(summary, fmt.Sprintf("%d of %d machines %s", number-failing, number, test.done)),
		summary)
}
