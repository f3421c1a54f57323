package rollout_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

func TestATargetFollowsKubernetesRules(t *testing.T) {
	const own, foreign = true, false
	old := func(version string, names ...string) []rollout.Machine {
		return fleet(8, with(runs(version), names...))
	}
	for name, test := range map[string]struct {
		controlPlane, target string
		own                  bool
		machines             []rollout.Machine
		refusal              string
	}{
		"the same version":                {"v1.33.13", "v1.33.13", own, fleet(1), ""},
		"a patch":                         {"v1.33.1", "v1.33.13", own, fleet(1), ""},
		"the next minor":                  {"v1.33.13", "v1.34.4", own, fleet(1), ""},
		"the next minor's candidate":      {"v1.33.13", "v1.34.0-rc.1", own, fleet(1), ""},
		"from a candidate to its release": {"v1.34.0-rc.1", "v1.34.0", own, fleet(1), ""},
		"from a release to its candidate": {
			"v1.34.0", "v1.34.0-rc.1", own, fleet(1),
			"v1.34.0-rc.1 is older than the control plane's v1.34.0, and a control plane is never downgraded",
		},
		"two minors at once": {
			"v1.32.4", "v1.34.4", own, fleet(1),
			"v1.34.4 is too far from the control plane's v1.32.4, which goes one minor version at a time: upgrade to " +
				"a version of v1.33 first",
		},
		"an older patch": {
			"v1.34.4", "v1.34.3", own, fleet(1),
			"v1.34.3 is older than the control plane's v1.34.4, and a control plane is never downgraded",
		},
		"an older minor": {"v1.34.4", "v1.33.13", own, fleet(1), "is never downgraded"},
		"another major": {
			"v1.34.4", "v2.0.0", own, fleet(1),
			"v2.0.0 is of another major version than the control plane's v1.34.4",
		},
		"up to a foreign control plane": {"v1.34.4", "v1.34.4", foreign, fleet(1), ""},
		"up, not all the way":           {"v1.34.4", "v1.33.20", foreign, fleet(1), ""},
		"ahead of a foreign control plane": {
			"v1.33.13", "v1.34.4", foreign, fleet(1),
			"v1.34.4 is ahead of the control plane, which runs v1.33.13 and is not Argosy's to upgrade: no machine " +
				"may be ahead of it, and v1.33.13 is the newest that one can have",
		},
		"ahead by a patch":                {"v1.34.3", "v1.34.4", foreign, fleet(1), "v1.34.3 is the newest"},
		"no version of the control plane": {"", "v1.34.4", own, fleet(1), `reading the control plane's version ""`},
		"no version to go to":             {"v1.34.4", "stable", own, fleet(1), `reading target version "stable"`},
		"machines three minors behind":    {"v1.33.13", "v1.34.4", own, old("v1.31.0", "m2"), ""},
		"a machine four minors behind": {
			"v1.33.13", "v1.34.4", own, old("v1.30.2", "m2"),
			"m2 v1.30.2 is more than 3 minor versions behind v1.34.4, which no kubelet may be: upgrade these to " +
				"v1.33.13 first, which the control plane runs",
		},
		"many machines behind": {
			"v1.33.13", "v1.34.4", own,
			old("v1.30.2", "m8", "m7", "m6", "m5", "m4", "m3", "m2"),
			"m2 v1.30.2, m3 v1.30.2, m4 v1.30.2, m5 v1.30.2, m6 v1.30.2 and 2 others are more than 3 minor versions " +
				"behind",
		},
		"left out, and behind": {
			"v1.33.13", "v1.34.4", own,
			fleet(1, runs("v1.30.2"), skip("not selected")), "m1 v1.30.2 is more than",
		},
		"too far behind to come up": {
			"v1.33.13", "v1.34.4", own, old("v1.29.2", "m2"),
			"remove these and join them again",
		},
		"behind a control plane that stays": {
			"v1.34.3", "v1.34.4", own, old("v1.30.2", "m2"),
			"remove these and join them again",
		},
		"behind a foreign control plane": {
			"v1.34.4", "v1.34.4", foreign, old("v1.29.2", "m2"),
			"upgrade to a version of v1.32 first",
		},
		"without a node":        {"v1.33.13", "v1.34.4", own, fleet(1, runs("")), ""},
		"newer than the target": {"v1.34.4", "v1.33.13", foreign, fleet(1, runs("v1.34.4")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := rollout.CheckTarget(test.controlPlane, test.target, test.own, test.machines)
			if test.refusal == "" {
				assert.NilError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.refusal)
			assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
		})
	}
}

func TestTheTargetThatARefusalNamesIsAllowed(t *testing.T) {
	old := fleet(1, runs("v1.30.2"))
	assert.ErrorContains(t, rollout.CheckTarget("v1.33.13", "v1.34.4", true, old), "upgrade these to v1.33.13 first")
	assert.NilError(t, rollout.CheckTarget("v1.33.13", "v1.33.13", true, old))
	assert.ErrorContains(t, rollout.CheckTarget("v1.34.4", "v1.34.4", false, old),
		"upgrade to a version of v1.33 first")
	assert.NilError(t, rollout.CheckTarget("v1.34.4", "v1.33.13", false, old))
}
