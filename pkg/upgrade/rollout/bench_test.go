package rollout_test

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// large is a fleet of 20 zones, with canaries and machines that are left out.
func large(n int) []rollout.Machine {
	machines := fleet(n)
	for i := range machines {
		machines[i].Zone = fmt.Sprintf("zone-%d", i%20)
		machines[i].Canary = i < 5
		if i%50 == 7 {
			machines[i].Skip = "not selected"
		}
	}
	return machines
}

func BenchmarkPlanOf10000Machines(b *testing.B) {
	machines := large(10000)
	policy := rollout.Policy{Target: "v1.34.4", MaxUnavailable: percent("5%")}
	for b.Loop() {
		_, err := rollout.Make(machines, policy)
		assert.NilError(b, err)
	}
}

// BenchmarkAnswerAmong10000Machines asks for the last machine, whose answer depends on all others.
func BenchmarkAnswerAmong10000Machines(b *testing.B) {
	machines := large(10000)
	policy := rollout.Policy{Target: "v1.34.4", MaxUnavailable: percent("5%")}
	plan, err := rollout.Make(machines, policy)
	assert.NilError(b, err)
	last := plan.Waves[len(plan.Waves)-1].Machines[0]
	for i := range machines {
		if machines[i].Name != last {
			machines[i].State = rollout.Succeeded
		}
	}
	for b.Loop() {
		assert.Equal(b, rollout.Situate(plan, rollout.Snapshot{Machines: machines}).Admit(last).Verdict, rollout.Start)
	}
}

// BenchmarkRolloutOf1000Machines has every machine of a wave ask until it may start, as a workflow does.
func BenchmarkRolloutOf1000Machines(b *testing.B) {
	policy := rollout.Policy{Target: "v1.34.4", MaxUnavailable: percent("5%")}
	for b.Loop() {
		machines := large(1000)
		plan, err := rollout.Make(machines, policy)
		assert.NilError(b, err)
		byName := map[string]*rollout.Machine{}
		for i := range machines {
			byName[machines[i].Name] = &machines[i]
		}
		asked := 0
		for _, wave := range plan.Waves {
			asked += upgrade(b, plan, machines, byName, wave)
		}
		b.ReportMetric(float64(asked), "answers/op")
	}
}

func upgrade(b *testing.B, plan rollout.Plan, machines []rollout.Machine, byName map[string]*rollout.Machine,
	wave rollout.Wave,
) (asked int) {
	b.Helper()
	left := wave.Machines
	for len(left) > 0 {
		var waiting []string
		situation := rollout.Situate(plan, rollout.Snapshot{Machines: machines})
		for _, name := range left {
			asked++
			if situation.Admit(name).Verdict == rollout.Start {
				byName[name].State = rollout.Working
			} else {
				waiting = append(waiting, name)
			}
		}
		for _, name := range left {
			if byName[name].State == rollout.Working {
				byName[name].State = rollout.Succeeded
			}
		}
		assert.Assert(b, len(waiting) < len(left))
		left = waiting
	}
	return asked
}
