package rollout_test

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/golden"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// scenario is a fleet, a policy, its amounts in machines, and how its machines end in the transcript.
type scenario struct {
	machines     []rollout.Machine
	policy       rollout.Policy
	most, budget int
	outcome      map[string]rollout.State
}

func percent(s string) intstr.IntOrString { return intstr.FromString(s) }
func number(n int32) intstr.IntOrString   { return intstr.FromInt32(n) }

func fails(names ...string) map[string]rollout.State {
	outcome := map[string]rollout.State{}
	for _, name := range names {
		outcome[name] = rollout.Failed
	}
	return outcome
}

func scenarios() map[string]scenario {
	return map[string]scenario{
		"single":        {fleet(1), rollout.Policy{MaxUnavailable: number(1)}, 1, 0, fails()},
		"one-at-a-time": {fleet(3), rollout.Policy{MaxUnavailable: number(1)}, 1, 0, fails()},
		"two-at-a-time": {
			fleet(3),
			rollout.Policy{MaxUnavailable: number(2), WaveSize: percent("100%")},
			2, 0,
			fails(),
		},
		"first-failure": {fleet(3), rollout.Policy{MaxUnavailable: number(1)}, 1, 0, fails("m2")},
		"canary":        {fleet(5, with(canary, "m3")), rollout.Policy{MaxUnavailable: number(2)}, 2, 0, fails()},
		"canary-fails": {fleet(5, with(canary, "m3")), rollout.Policy{
			MaxUnavailable: number(2),
			FailureBudget:  number(3),
		}, 2, 3, fails("m3")},
		"zones": {fleet(7, zone("zone-b", "m1", "m2", "m3"), zone("zone-a", "m4", "m5", "m6"),
			with(canary, "m2")), rollout.Policy{MaxUnavailable: number(2)}, 2, 0, fails()},
		"budget": {fleet(5), rollout.Policy{
			MaxUnavailable: number(1), WaveSize: number(5),
			FailureBudget: number(1),
		}, 1, 1, fails("m1", "m3")},
		"percentages": {fleet(10), rollout.Policy{
			MaxUnavailable: percent("25%"), WaveSize: percent("25%"),
			FailureBudget: percent("15%"),
		}, 2, 1, fails("m4")},
		"down-of-the-plan": {
			fleet(4, with(unavailable, "m3")),
			rollout.Policy{MaxUnavailable: number(1), WaveSize: number(4)},
			1, 0, fails(),
		},
		"down-for-ever": {
			fleet(4, with(unavailable, "m4"),
				with(func(m *rollout.Machine) { m.Skip = "not selected" }, "m4")),
			rollout.Policy{MaxUnavailable: number(1)},
			1, 0, fails(),
		},
		"down-and-room": {
			fleet(4, with(unavailable, "m4"),
				with(func(m *rollout.Machine) { m.Skip = "not selected" }, "m4")),
			rollout.Policy{MaxUnavailable: number(2)},
			2, 0, fails(),
		},
		"skipped": {
			fleet(4, with(func(m *rollout.Machine) { m.Skip = "label vcluster.loft.sh/skip-auto-upgrade" },
				"m2")),
			rollout.Policy{MaxUnavailable: number(1)},
			1, 0,
			map[string]rollout.State{"m3": rollout.Skipped},
		},
		"twelve": {
			fleet(12, with(canary, "m10", "m11"), zone("rack-2", "m1", "m2", "m3", "m11"),
				zone("rack-10", "m4", "m5", "m6", "m7", "m10"),
				with(func(m *rollout.Machine) { m.FailedBefore = true }, "m7"), with(unavailable, "m6"),
				with(func(m *rollout.Machine) { m.Version = "v1.34.4" }, "m8", "m9"),
				with(func(m *rollout.Machine) { m.Differs = true }, "m9"),
				with(func(m *rollout.Machine) { m.Version = "" }, "m12")),
			rollout.Policy{MaxUnavailable: percent("30%"), FailureBudget: number(1)},
			3, 1, fails("m6"),
		},
	}
}

func (sc scenario) simulation(t testing.TB) *simulation {
	sc.policy.Target = "v1.34.4"
	plan, err := rollout.Make(sc.machines, sc.policy)
	assert.NilError(t, err)
	return &simulation{
		t: t, plan: plan, machines: slices.Clone(sc.machines), policy: sc.policy, most: sc.most,
		budget: sc.budget,
	}
}

func TestATranscriptOfEachRollout(t *testing.T) {
	for name, sc := range scenarios() {
		t.Run(name, func(t *testing.T) {
			s := sc.simulation(t)
			s.choose, s.outcome = func(int) int { return 0 }, sc.outcome
			s.run()
			golden.Assert(t, s.transcript(), name+".golden")
		})
	}
}

func TestEveryRolloutKeepsItsPromisesInWhateverOrderThingsHappen(t *testing.T) {
	for name, sc := range scenarios() {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				s := sc.simulation(t)
				s.choose = seeded(seed)
				s.run()

				s = sc.simulation(t)
				s.choose, s.incidents = seeded(seed), 2*len(sc.machines)
				s.run()
			}
		})
	}
}

func TestAllMachinesAreUpgradedWhereNothingFails(t *testing.T) {
	for name, sc := range scenarios() {
		if name == "down-for-ever" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				s := sc.simulation(t)
				s.choose, s.outcome = seeded(seed), fails()
				s.run()
				assert.Equal(t, len(s.in(rollout.Skipped)), 0, s.transcript())
			}
		})
	}
}
