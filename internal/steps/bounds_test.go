package steps

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/internal/offload"
	"argosy.dev/argosy/pkg/join"
)

// A plan of this many machines would not fit into one output.
const many = 1000

func manyEntries() []join.Entry {
	var entries []join.Entry
	for i := range many {
		entry := join.Entry{
			Machine: fmt.Sprintf("machine-%04d", i), Action: join.ActionJoin,
			Reasons: []string{"will do: bundle, kernel, binaries, containerd, images, kubelet, kubeadm, healthy"},
		}
		if i == many-1 {
			entry.Action, entry.Reasons = join.ActionRefuse, []string{"the disk is full"}
		}
		entries = append(entries, entry)
	}
	return entries
}

func TestAPlanOfManyMachinesFitsAndKeepsRefusedOnes(t *testing.T) {
	result := planResult(manyEntries(), false)
	var plan report[join.Entry]
	assert.NilError(t, json.Unmarshal([]byte(result.Outputs["plan"]), &plan))
	assert.Equal(t, plan.Machines[0].Machine, "machine-0999")
	assert.Equal(t, len(plan.Machines)+plan.Omitted, many)
	assert.Assert(t, plan.Omitted > 0)

	env, cluster := groupEnv(t, 1)
	answer, err := env.answer(t.Context(), groupCall, cluster, result)
	assert.NilError(t, err)
	var items []string
	assert.NilError(t, json.Unmarshal([]byte(answer.Outputs["machines"]), &items))
	fannedOut := 0
	for _, item := range items {
		fannedOut += groupLength(item)
	}
	assert.Equal(t, fannedOut, many, "every machine is fanned out")
	assert.Assert(t, len(items) <= maxOwnSteps)
	assert.NilError(t, json.Unmarshal([]byte(answer.Outputs["plan"]), &plan))
	var whole []join.Entry
	assert.NilError(t, env.records.Read(t.Context(), offload.Owner(groupCall.Workflow), plan.ConfigMap, &whole))
	assert.Equal(t, len(whole), many)
	assert.Assert(t, strings.Contains(result.Outputs["table"], "more lines; see argosy plan"))
	for name, output := range result.Outputs {
		assert.Assert(t, len(output) <= 64<<10, "output %s has %d bytes", name, len(output))
	}
}

func TestAShortReportIsWhole(t *testing.T) {
	assert.Equal(t, encodeReport([]int{1, 2}), `{"machines":[1,2]}`)
	assert.Equal(t, encodeReport([]int{}), `{"machines":[]}`)
	assert.Equal(t, boundTable("a\nb\n"), "a\nb\n")
}
