package rollout_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// m1 is at work. The plan: m1 to m4 in one wave, m5 in the next; three may be out of service.
func TestTheNextMachinesOfAWave(t *testing.T) {
	for name, test := range map[string]struct {
		now  []func(*rollout.Machine)
		want string
	}{
		"as many as may be out of service":  {nil, "m2 m3"},
		"others at work count":              {[]func(*rollout.Machine){with(is(rollout.Working), "m2")}, "m3"},
		"others that are unavailable count": {[]func(*rollout.Machine){with(unavailable, "m5")}, "m2"},
		"not one that is away already":      {[]func(*rollout.Machine){with(unavailable, "m2")}, "m3"},
		"not one that takes no part":        {[]func(*rollout.Machine){with(skip("label"), "m2")}, "m3 m4"},
		"not one that has ended":            {[]func(*rollout.Machine){with(is(rollout.Succeeded), "m2")}, "m3 m4"},
		"none of a rollout that is halted":  {[]func(*rollout.Machine){with(is(rollout.Failed), "m2")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			machines := fleet(5, append(test.now, with(is(rollout.Working), "m1"))...)
			plan := rollout.Plan{MaxUnavailable: 3, Waves: []rollout.Wave{
				{Name: "1", Machines: []string{"m1", "m2", "m3", "m4"}}, {Name: "2", Machines: []string{"m5"}},
			}}
			situation := rollout.Situate(plan, rollout.Snapshot{Machines: machines})
			assert.Equal(t, strings.Join(situation.Next("m1"), " "), test.want)
			assert.Equal(t, len(situation.Next("m9")), 0)
		})
	}
}
