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
		return 0, refuse("MaxWaves", most, errors.New("it must not be negative"))
	case most == 0:
		return defaultMaxWaves, nil
	}
	return most, nil
}

// scale is the total of which a percentage is taken, and how it is rounded.
type scale struct {
	total int
	up    bool
}

func down(total int) scale { return scale{total, false} }
func up(total int) scale   { return scale{total, true} }

// amount returns one of the policy's amounts in machines. As it is written, before it is scaled, it must be least or
// more.
func amount(field string, value intstr.IntOrString, least int, of scale) (int, error) {
	value = intstr.Parse(value.String())
	written, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, false)
	switch {
	case err != nil:
		err = errors.New("it must be a number of machines or a percentage")
	case written < 0:
		err = errors.New("it must not be negative")
	case written < least:
		err = errors.New("it must be 1 or more")
	case value.Type == intstr.String && written > 100:
		err = errors.New("it must not exceed 100%")
	}
	if err != nil {
		return 0, refuse(field, value.String(), err)
	}
	scaled, err := intstr.GetScaledValueFromIntOrPercent(&value, of.total, of.up)
	if err != nil {
		return 0, refuse(field, value.String(), err)
	}
	return scaled, nil
}

// refuse returns the error for a field of a policy that has no meaning.
func refuse(field string, value any, why error) error {
	return errclass.Errorf(errclass.Configuration, "reading %s %q of the policy: %w", field, fmt.Sprint(value), why)
}
