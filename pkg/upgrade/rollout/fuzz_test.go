package rollout_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// tape reads choices from bytes, and is 0 where they end.
func tape(bytes []byte) dice {
	return func(n int) int {
		if len(bytes) == 0 {
			return 0
		}
		choice := int(bytes[0]) % n
		bytes = bytes[1:]
		return choice
	}
}

// FuzzARolloutKeepsItsPromises makes a fleet, a policy and everything that happens from a tape of choices.
func FuzzARolloutKeepsItsPromises(f *testing.F) {
	for _, seed := range []string{
		"", "\x02\x01\x01\x00\x00", "a rollout of some machines",
		"\x0b\x05\x04\x03\x02\x01\x0b\x05\x04\x03\x02\x01\x0b\x05\x04\x03\x02\x01",
		"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5\xf4\xf3\xf2\xf1\xf0",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		choose := tape(bytes)
		policy, percents := somePolicy(choose)
		machines := someMachines(choose)
		plan, err := rollout.Make(machines, policy)
		assert.NilError(t, err)
		judgePlan(t, plan, machines, policy.MaxWaves)

		taking := 0
		for _, wave := range plan.Waves {
			taking += len(wave.Machines)
		}
		s := &simulation{t: t, plan: plan, machines: machines, policy: policy, choose: choose, incidents: choose(20)}
		s.most, s.budget = int(policy.MaxUnavailable.IntVal), int(policy.FailureBudget.IntVal)
		if policy.MaxUnavailable.Type == intstr.String {
			s.most = max(1, percents[0]*taking/100)
		}
		if policy.FailureBudget.Type == intstr.String {
			s.budget = percents[1] * taking / 100
		}
		s.run()
	})
}

func somePolicy(choose dice) (policy rollout.Policy, percents [2]int) {
	some := func(least int) (intstr.IntOrString, int) {
		if choose(2) == 1 {
			n := max(least, choose(101))
			return intstr.FromString(strconv.Itoa(n) + "%"), n
		}
		return intstr.FromInt32(int32(max(least, choose(6)))), 0
	}
	policy = rollout.Policy{Target: "v1.34.4", MaxWaves: 2 + choose(6)}
	policy.MaxUnavailable, percents[0] = some(1)
	policy.FailureBudget, percents[1] = some(0)
	if choose(2) == 1 {
		policy.WaveSize, _ = some(1)
	}
	return policy, percents
}

func someMachines(choose dice) []rollout.Machine {
	machines := fleet(1 + choose(14))
	for i := range machines {
		m := &machines[i]
		m.Version = []string{"v1.33.13", "v1.33.13", "v1.33.13", "v1.34.4", "v1.35.0", "v1.31.2", ""}[choose(7)]
		m.Zone = []string{"", "a", "b", "canary"}[choose(4)]
		m.Canary, m.FailedBefore, m.Differs = choose(5) == 1, choose(5) == 1, choose(5) == 1
		m.Unavailable = choose(5) == 1
		if choose(7) == 1 {
			m.Skip = "not selected"
		}
	}
	return machines
}

// judgePlan holds that each machine is in one place, canaries before all others and apart from them, and zones apart
// unless they had to be merged.
func judgePlan(t *testing.T, plan rollout.Plan, machines []rollout.Machine, most int) {
	t.Helper()
	assert.Assert(t, len(plan.Waves) <= most, show(plan))
	seen := slices.Clone(plan.Held)
	for _, left := range plan.Skipped {
		assert.Assert(t, left.Reason != "")
		seen = append(seen, left.Machine)
	}
	find := func(name string) rollout.Machine {
		return machines[slices.IndexFunc(machines, func(m rollout.Machine) bool { return m.Name == name })]
	}
	canaries, names := true, map[string]bool{}
	for _, wave := range plan.Waves {
		assert.Assert(t, len(wave.Machines) > 0 && !names[wave.Name], show(plan))
		names[wave.Name] = true
		for i, name := range wave.Machines {
			canary := find(name).Canary
			assert.Assert(t, canaries || !canary, show(plan))
			assert.Assert(t, i == 0 || canary == canaries, show(plan))
			assert.Equal(t, canary, wave.Canary, show(plan))
			assert.Assert(t, strings.Contains(wave.Name, " to ") || find(name).Zone == find(wave.Machines[0]).Zone,
				show(plan))
			canaries = canary
		}
		seen = append(seen, wave.Machines...)
	}
	slices.Sort(seen)
	assert.Equal(t, len(slices.Compact(slices.Clone(seen))), len(machines), show(plan))
	assert.Equal(t, len(seen), len(machines), show(plan))
}
