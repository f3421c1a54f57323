package join_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/join"
	"argosy.dev/argosy/pkg/node/spec"
	"argosy.dev/argosy/pkg/operation"
)

func TestClonesAreNamedInThePlan(t *testing.T) {
	facts := func(id, uuid string, macs ...string) spec.Facts {
		facts := spec.Facts{MachineID: id, ProductUUID: uuid}
		for _, mac := range macs {
			facts.Interfaces = append(facts.Interfaces, spec.Interface{Name: "eth0", MAC: mac})
		}
		return facts
	}
	for name, tt := range map[string]struct {
		first, second spec.Facts
		remark        string
	}{
		"machine-id": {facts("1111", "a", "m"), facts("1111", "b", "n"), "It has the machine-id 1111, as m2 " +
			"has; empty"},
		"product UUID": {facts("1111", "a", "m"), facts("2222", "a", "n"), "It has the product UUID a, as m2 has;"},
		"MAC address": {facts("1111", "a", "m"), facts("2222", "b", "n", "m"), "It has the MAC address m, as m2 " +
			"has;"},
		"none":          {facts("1111", "a", "m", "m"), facts("2222", "b", "n"), ""},
		"nothing known": {facts("", ""), facts("", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			plan := spec.Status{Total: 9, Phases: phases(spec.Wanted)}
			joiner := newJoiner(t, nil, newClient())
			joiner.Machine = func(m config.Machine) join.Machine {
				if m.Name == "m1" {
					return &fakeMachine{plan: plan, facts: tt.first}
				}
				return &fakeMachine{plan: plan, facts: tt.second}
			}
			second := firstMachine(joiner)
			second.Name, second.NodeName = "m2", "m2"
			entries, err := joiner.Plan(t.Context(), []config.Machine{firstMachine(joiner), second},
				operation.NoProgress{})
			assert.NilError(t, err)
			assert.Equal(t, len(entries[0].Remarks) > 0, tt.remark != "")
			assert.Assert(t, strings.Contains(strings.Join(entries[0].Remarks, " "), tt.remark), entries[0].Remarks)
			assert.Assert(t, strings.Contains(join.Table(entries), tt.remark))
		})
	}
}

func TestRemarksOfPreflightAreInThePlan(t *testing.T) {
	plan := spec.Status{Total: 9, Phases: phases(spec.Wanted)}
	plan.Phases[0].Detail = spec.CanBecomeNode + " There is a network configuration already."
	joiner := newJoiner(t, &fakeMachine{plan: plan, facts: spec.Facts{SELinux: "enforcing", AppArmor: true}},
		newClient())
	entries, err := joiner.Plan(t.Context(), joiner.Cluster.Fleet.Machines, operation.NoProgress{})
	assert.NilError(t, err)
	assert.DeepEqual(t, entries[0].Remarks, []string{"There is a network configuration already."})
	assert.Assert(t, strings.Contains(join.Table(entries), "There is a network configuration already."))
	assert.Assert(t, strings.HasSuffix(entries[0].System, " · SELinux enforcing · AppArmor"), entries[0].System)
}
