package rollout

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/version"
)

// Make divides the machines into waves; the same machines give the same plan in whatever order they come.
//
//	machine                          goes to
//	Skip                             Skipped, with that reason
//	without version                  Skipped: it has to join first
//	with an unreadable version       Skipped
//	newer than the target            Skipped: a rollout never downgrades
//	at the target, and not Differs   Held
//	any other                        a wave
//
// Canaries are in waves of their own, before all others. Such a wave is never larger than MaxUnavailable, so that a
// gate lies between any two canaries that may not be unavailable together. Then come the zones in natural order,
// machines without one last. No wave mixes zones, those of canaries included. Within a zone, machines come first that
// failed before, then those that are unavailable already (they count against MaxUnavailable until they are repaired),
// each in the natural order of names.
//
// More waves than MaxWaves become fewer as WaveSize grows for all zones alike. Only where there are more zones than
// waves, neighbouring waves are merged evenly, and named after the first and the last of them; canaries still stay
// apart.
//
// An error has the class Configuration and names the policy's field.
func Make(machines []Machine, policy Policy) (Plan, error) {
	target, err := version.ParseSemantic(policy.Target)
	if err != nil {
		return Plan{}, refuse("Target", policy.Target, err)
	}
	plan, members := divide(machines, target)
	limits, err := policy.limits(len(members))
	if err != nil {
		return Plan{}, err
	}
	plan.MaxUnavailable, plan.FailureBudget = limits.unavailable, limits.failures
	plan.Waves, err = makeWaves(members, limits)
	return plan, err
}

// divide returns a plan with the machines that take no part, and those that do.
func divide(machines []Machine, target *version.Version) (Plan, []Machine) {
	var plan Plan
	var members []Machine
	for _, m := range byName(machines) {
		reason, held := skipReason(m, target)
		switch {
		case held:
			plan.Held = append(plan.Held, m.Name)
		case reason != "":
			plan.Skipped = append(plan.Skipped, SkippedMachine{m.Name, reason})
		default:
			members = append(members, m)
		}
	}
	return plan, members
}

func byName(machines []Machine) []Machine {
	return slices.SortedFunc(slices.Values(machines), func(a, b Machine) int { return natural(a.Name, b.Name) })
}

// skipReason returns why a machine takes no part: because it is held, or for a reason.
func skipReason(m Machine, target *version.Version) (reason string, held bool) {
	switch {
	case m.Skip != "":
		return m.Skip, false
	case m.Version == "":
		return "has no node: submit workflow join first", false
	}
	runs, err := version.ParseSemantic(m.Version)
	switch {
	case err != nil:
		return fmt.Sprintf("its kubelet's version %q cannot be read", m.Version), false
	case target.LessThan(runs):
		return fmt.Sprintf("runs %s, newer than v%s, and is not downgraded", m.Version, target), false
	}
	return "", !m.Differs && !runs.LessThan(target)
}
