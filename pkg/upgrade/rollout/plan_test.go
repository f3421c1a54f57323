package rollout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

func skip(reason string) func(*rollout.Machine) {
	return func(m *rollout.Machine) { m.Skip = reason }
}

func runs(version string) func(*rollout.Machine) {
	return func(m *rollout.Machine) { m.Version = version }
}

func differs(m *rollout.Machine)      { m.Differs = true }
func failedBefore(m *rollout.Machine) { m.FailedBefore = true }

// numbered makes zones z1, z2, … of one machine each.
func numbered(m *rollout.Machine) { m.Zone = strings.Replace(m.Name, "m", "z", 1) }

func TestAPlan(t *testing.T) {
	one := rollout.Policy{MaxUnavailable: number(1)}
	two := rollout.Policy{MaxUnavailable: number(2)}
	most := func(n int, policy rollout.Policy) rollout.Policy { policy.MaxWaves = n; return policy }
	for name, test := range map[string]struct {
		machines []rollout.Machine
		policy   rollout.Policy
		want     []string
	}{
		"of nobody": {nil, one, nil},
		"in natural order": {
			fleet(11),
			rollout.Policy{MaxUnavailable: number(6)},
			[]string{"wave 1: m1 m2 m3 m4 m5 m6", "wave 2: m7 m8 m9 m10 m11"},
		},
		"with a reason for who is left out": {
			fleet(2, with(skip("not selected"), "m2")), one,
			[]string{"wave 1: m1", "skipped m2: not selected"},
		},
		"leaves out also what is up to date": {
			fleet(1, runs("v1.34.4"), skip("not selected")), one,
			[]string{"skipped m1: not selected"},
		},
		"holds who is up to date": {
			fleet(11, with(runs("v1.34.4"), "m10", "m2")), two,
			[]string{"wave 1: m1 m3", "wave 2: m4 m5", "wave 3: m6 m7", "wave 4: m8 m9", "wave 5: m11", "held m2 m10"},
		},
		"takes who differs": {fleet(1, runs("v1.34.4"), differs), one, []string{"wave 1: m1"}},
		"sends who has no node to join": {
			fleet(1, runs("")), one,
			[]string{"skipped m1: has no node: submit workflow join first"},
		},
		"never goes back": {
			fleet(1, runs("v1.34.5"), differs), one,
			[]string{"skipped m1: runs v1.34.5, newer than v1.34.4, and is not downgraded"},
		},
		"takes release candidates forward":   {fleet(1, runs("v1.34.4-rc.1")), one, []string{"wave 1: m1"}},
		"holds another build of the version": {fleet(1, runs("v1.34.4+k3s1")), one, []string{"held m1"}},
		"leaves what nobody can read": {
			fleet(1, runs("latest")), one,
			[]string{`skipped m1: its kubelet's version "latest" cannot be read`},
		},
		"canaries first": {
			fleet(4, with(canary, "m3")), two,
			[]string{"wave canary: m3", "wave 1: m1 m2", "wave 2: m4"},
		},
		"canaries no more than may be gone": {
			fleet(4, with(canary, "m3", "m4")),
			rollout.Policy{MaxUnavailable: number(1), WaveSize: number(5)},
			[]string{"wave canary: m3", "wave canary 2: m4", "wave 1: m1 m2"},
		},
		"canaries no more than a wave": {
			fleet(2, canary),
			rollout.Policy{MaxUnavailable: number(2), WaveSize: number(1)},
			[]string{"wave canary: m1", "wave canary 2: m2"},
		},
		"zones apart": {
			fleet(5, zone("b", "m1", "m2"), zone("a", "m4", "m5")), two,
			[]string{"wave a: m4 m5", "wave b: m1 m2", "wave no zone: m3"},
		},
		"zones in natural order": {
			fleet(2, zone("rack-10", "m1"), zone("rack-9", "m2")), two,
			[]string{"wave rack-9: m2", "wave rack-10: m1"},
		},
		"zones of canaries apart": {fleet(3, zone("b", "m1"), zone("a", "m2", "m3"),
			with(canary, "m1", "m2")), two, []string{"wave canary: m2", "wave canary 2: m1", "wave a: m3"}},
		"a zone that is named like canaries": {
			fleet(2, zone("canary", "m1", "m2"), with(canary, "m1")), one,
			[]string{"wave canary: m1", "wave zone canary: m2"},
		},
		"failed ones first": {
			fleet(3, with(failedBefore, "m3")), two,
			[]string{"wave 1: m3 m1", "wave 2: m2"},
		},
		"failed ones first in their zone": {fleet(3, zone("a", "m1", "m2"), zone("b", "m3"),
			with(failedBefore, "m2", "m3")), one, []string{"wave a: m2", "wave a 2: m1", "wave b: m3"}},
		"unavailable ones next": {
			fleet(4, with(failedBefore, "m3"), with(unavailable, "m4")), one,
			[]string{"wave 1: m3", "wave 2: m4", "wave 3: m1", "wave 4: m2"},
		},
		"a percentage down to one": {
			fleet(3),
			rollout.Policy{MaxUnavailable: percent("10%")},
			[]string{"wave 1: m1", "wave 2: m2", "wave 3: m3"},
		},
		"a percentage of those that go": {
			fleet(8, with(skip("no"), "m1", "m2", "m3", "m4")),
			rollout.Policy{MaxUnavailable: percent("50%")},
			[]string{
				"wave 1: m5 m6", "wave 2: m7 m8", "skipped m1: no", "skipped m2: no", "skipped m3: no",
				"skipped m4: no",
			},
		},
		"a wave's percentage up": {fleet(3), rollout.Policy{
			MaxUnavailable: number(1),
			WaveSize:       percent("34%"),
		}, []string{"wave 1: m1 m2", "wave 2: m3"}},
		"a number as text": {
			fleet(3),
			rollout.Policy{MaxUnavailable: intstr.FromString("2")},
			[]string{"wave 1: m1 m2", "wave 2: m3"},
		},
		"no more waves than may be": {
			fleet(7), most(3, one),
			[]string{"wave 1: m1 m2 m3", "wave 2: m4 m5 m6", "wave 3: m7"},
		},
		"larger waves, and zones still apart": {
			fleet(5, zone("a", "m1", "m2", "m3"), zone("b", "m4", "m5")),
			most(3, one),
			[]string{"wave a: m1 m2", "wave a 2: m3", "wave b: m4 m5"},
		},
		"more zones than waves": {
			fleet(5, numbered), most(2, one),
			[]string{"wave z1 to z2: m1 m2", "wave z3 to z5: m3 m4 m5"},
		},
		"more zones than waves, and canaries": {
			fleet(5, numbered, with(canary, "m5")), most(2, one),
			[]string{"wave canary: m5", "wave z1 to z4: m1 m2 m3 m4"},
		},
		"more canaries than waves": {
			fleet(5, with(canary, "m1", "m2", "m3", "m4")), most(4, one),
			[]string{"wave canary: m1", "wave canary 2: m2", "wave canary 3 to canary 4: m3 m4", "wave 1: m5"},
		},
		"canaries alone": {
			fleet(3, canary), most(1, one),
			[]string{"wave canary to canary 3: m1 m2 m3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.policy.Target = "v1.34.4"
			plan, err := rollout.Make(test.machines, test.policy)
			assert.NilError(t, err)
			want := strings.Join(test.want, "\n")
			assert.Equal(t, strings.TrimSuffix(show(plan), "\n"), want)

			for seed := range uint64(10) {
				machines := slices.Clone(test.machines)
				rand.New(rand.NewPCG(seed, 0)).Shuffle(len(machines),
					func(i, j int) { machines[i], machines[j] = machines[j], machines[i] })
				given := slices.Clone(machines)
				plan, err := rollout.Make(machines, test.policy)
				assert.NilError(t, err)
				assert.Equal(t, strings.TrimSuffix(show(plan), "\n"), want)
				assert.DeepEqual(t, machines, given)
			}
		})
	}
}

func TestAPlanHasNoMoreWavesThanArgoNests(t *testing.T) {
	plan, err := rollout.Make(fleet(1000), rollout.Policy{Target: "v1.34.4", MaxUnavailable: number(1)})
	assert.NilError(t, err)
	assert.Equal(t, len(plan.Waves), 77) // of 13 machines each, since 12 would make 84
}

func TestAPolicyThatNothingCanBeDecidedByIsRefused(t *testing.T) {
	for message, policy := range map[string]rollout.Policy{
		`reading Target "latest" of the policy`: {
			Target: "latest",
		},
		`reading MaxUnavailable "0" of the policy: it must be 1 or more`: {
			MaxUnavailable: number(0),
		},
		`reading MaxUnavailable "0%" of the policy: it must be 1 or more`: {
			MaxUnavailable: percent("0%"),
		},
		`reading MaxUnavailable "-1" of the policy: it must not be negative`: {
			MaxUnavailable: number(-1),
		},
		`reading MaxUnavailable "101%" of the policy: it must not exceed 100%`: {
			MaxUnavailable: percent("101%"),
		},
		`reading MaxUnavailable "some" of the policy: it must be a number of machines or a p`: {
			MaxUnavailable: percent("some"),
		},
		`reading MaxUnavailable "" of the policy: it must be a number`: {
			MaxUnavailable: percent(""),
		},
		`reading WaveSize "0%" of the policy: it must be 1 or more`: {
			MaxUnavailable: number(1), WaveSize: percent("0%"),
		},
		`reading WaveSize "-2" of the policy: it must not be negative`: {
			MaxUnavailable: number(1), WaveSize: number(-2),
		},
		`reading FailureBudget "-5%" of the policy: it must not be negative`: {
			MaxUnavailable: number(1), FailureBudget: percent("-5%"),
		},
		`reading FailureBudget "200%" of the policy: it must not exceed 100%`: {
			MaxUnavailable: number(1), FailureBudget: percent("200%"),
		},
		`reading MaxWaves "-1" of the policy: it must not be negative`: {
			MaxUnavailable: number(1), MaxWaves: -1,
		},
		`reading MaxWaves "1" of the policy: it must be 2 or more, since canaries are`: {
			MaxUnavailable: number(1), MaxWaves: 1,
		},
	} {
		t.Run(message, func(t *testing.T) {
			if policy.Target == "" {
				policy.Target = "v1.34.4"
			}
			machines := fleet(3, with(canary, "m1"))
			plan, err := rollout.Make(machines, policy)
			assert.ErrorContains(t, err, message)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
			assert.Equal(t, len(plan.Waves), 0)
		})
	}
}

func TestAMergedPlanIsEven(t *testing.T) {
	for zones := 3; zones < 40; zones++ {
		for most := 2; most < zones; most++ {
			plan, err := rollout.Make(fleet(zones, numbered),
				rollout.Policy{Target: "v1.34.4", MaxUnavailable: number(1), MaxWaves: most})
			assert.NilError(t, err)
			assert.Equal(t, len(plan.Waves), most)
			for _, wave := range plan.Waves {
				size := len(wave.Machines)
				assert.Assert(t, size == zones/most || size == zones/most+1, fmt.Sprint(zones, most, size))
			}
		}
	}
}
