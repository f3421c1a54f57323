package rollout

import "k8s.io/apimachinery/pkg/util/intstr"

// In is the policy with numbers in place of percentages, for a number of machines that take part.
func (p Policy) In(machines int) (Policy, error) {
	l, err := p.limits(machines)
	if err != nil {
		return p, err
	}
	p.MaxUnavailable, p.FailureBudget = intstr.FromInt32(int32(l.unavailable)), intstr.FromInt32(int32(l.failures))
	p.WaveSize, p.MaxWaves = intstr.FromInt32(int32(l.wave)), l.waves
	return p, nil
}

// Halted says after which failures nothing more is begun; it is empty while there may be more.
func Halted(plan Plan, machines []Machine, policy Policy) string {
	limits, err := policy.limits(plan.size())
	if err != nil {
		return err.Error()
	}
	return situation{plan, index(machines), machines, limits}.halted()
}
