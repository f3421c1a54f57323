package rollout

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/pkg/errclass"
)

// limits are a policy's amounts in machines.
type limits struct {
	unavailable, wave, failures int
	// waves is a number of waves.
	waves int
}

// limits resolves the policy for a number of machines that take part.
func (p Policy) limits(machines int) (limits, error) {
	var l limits
	var err error
	if l.unavailable, err = amount("MaxUnavailable", p.MaxUnavailable, 1, down(machines)); err != nil {
		return l, err
	}
	l.unavailable = max(l.unavailable, 1)
	if l.failures, err = amount("FailureBudget", p.FailureBudget, 0, down(machines)); err != nil {
		return l, err
	}
	l.wave = l.unavailable
	if p.WaveSize != (intstr.IntOrString{}) {
		if l.wave, err = amount("WaveSize", p.WaveSize, 1, up(machines)); err != nil {
			return l, err
		}
	}
	if l.waves, err = waves(p.MaxWaves); err != nil {
		return l, err
	}
	return l, nil
}

func waves(most int) (int, error) {
	switch {
	case most < 0:
		return 0, refuse("MaxWaves", most, errors.New("it is less than nothing"))
	case most == 0:
		return DefaultMaxWaves, nil
	}
	return most, nil
}

// scale is what a percentage is of, and how it is rounded.
type scale struct {
	total int
	up    bool
}

func down(total int) scale { return scale{total, false} }
func up(total int) scale   { return scale{total, true} }

// amount resolves one of the policy's amounts, which is least at least as it is written, before it is scaled.
func amount(field string, value intstr.IntOrString, least int, of scale) (int, error) {
	value = intstr.Parse(value.String())
	written, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, false)
	switch {
	case err != nil:
		err = errors.New("it is neither a number of machines nor a percentage")
	case written < 0:
		err = errors.New("it is less than nothing")
	case written < least:
		err = errors.New("it is nothing, where 1 is the least")
	case value.Type == intstr.String && written > 100:
		err = errors.New("it is more than all")
	}
	if err != nil {
		return 0, refuse(field, value.String(), err)
	}
	return intstr.GetScaledValueFromIntOrPercent(&value, of.total, of.up)
}

// refuse names the field of a policy that nothing can be decided by.
func refuse(field string, value any, why error) error {
	return errclass.Errorf(errclass.Configuration, "reading %s %q of the policy: %w", field, fmt.Sprint(value), why)
}
