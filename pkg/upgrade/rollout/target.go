package rollout

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/pkg/errclass"
)

// maxSkew is how many minor versions a kubelet may be behind the API server:
// https://kubernetes.io/releases/version-skew-policy/#kubelet.
const maxSkew = 3

// CheckTarget checks Kubernetes' version rules for a cluster whose control plane runs one version now and whose target
// is another. own is true where Argosy moves the control plane too; otherwise machines can only come up to it.
//
//	target                              own                                   not own
//	older than the control plane        refused: no downgrade                 allowed: only machines go there
//	the control plane's minor, newer    allowed                               refused: machines are never ahead
//	the next minor                      allowed                               refused: machines are never ahead
//	any later minor                     refused: one minor at a time          refused: machines are never ahead
//	another major                       refused: there is no rule for it      refused
//
// In all cases, no kubelet may be more than three minors behind the target, whether it takes part or not. [Make] skips
// those that are newer. Errors have the class Configuration.
func CheckTarget(controlPlane, target string, own bool, machines []Machine) error {
	runs, err := version.ParseSemantic(controlPlane)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading the control plane's version %q: %w", controlPlane, err)
	}
	wanted, err := version.ParseSemantic(target)
	if err != nil {
		return errclass.Errorf(errclass.Configuration, "reading target version %q: %w", target, err)
	}
	if err := checkStep(runs, wanted, own); err != nil {
		return errclass.With(errclass.Configuration, err)
	}
	return errclass.With(errclass.Configuration, checkSkew(runs, wanted, own, machines))
}

// checkStep checks the rules between the control plane and its target.
func checkStep(runs, wanted *version.Version, own bool) error {
	switch {
	case runs.Major() != wanted.Major():
		return fmt.Errorf("v%s is of another major version than the control plane's v%s, and Kubernetes supports no "+
			"such upgrade", wanted, runs)
	case !own && runs.LessThan(wanted):
		return fmt.Errorf("v%s is ahead of the control plane, which runs v%s and is not Argosy's to upgrade: no "+
			"machine may be ahead of it, and v%[2]s is the newest that one can have", wanted, runs)
	case own && wanted.LessThan(runs):
		return fmt.Errorf("v%s is older than the control plane's v%s, and a control plane is never downgraded", wanted,
			runs)
	case own && wanted.Minor() > runs.Minor()+1:
		return fmt.Errorf("v%s is too far from the control plane's v%s, which goes one minor version at a time: "+
			"upgrade to a version of %s first", wanted, runs, minor(runs.Major(), runs.Minor()+1))
	}
	return nil
}

// checkSkew returns an error that names the machines that would be too old. Machines without a version have no kubelet
// yet; a version that cannot be parsed is not judged.
func checkSkew(runs, wanted *version.Version, own bool, machines []Machine) error {
	var old []string
	oldest := wanted.Minor()
	for _, m := range byName(machines) {
		kubelet, err := version.ParseSemantic(m.Version)
		if err != nil || kubelet.Major() != wanted.Major() || kubelet.Minor()+maxSkew >= wanted.Minor() {
			continue
		}
		old = append(old, m.Name+" "+m.Version)
		oldest = min(oldest, kubelet.Minor())
	}
	if len(old) == 0 {
		return nil
	}
	return fmt.Errorf("%s more than %d minor versions behind v%s, which no kubelet may be: %w", are(old), maxSkew,
		wanted, wayUp(runs, wanted, own, oldest))
}

// wayUp returns the advice for machines that are too old, the oldest of which has a kubelet of that minor version: a
// target that CheckTarget allows. There is none where they are too old already for a control plane that Argosy moves,
// since it and they have one target.
func wayUp(runs, wanted *version.Version, own bool, oldest uint) error {
	switch {
	case !own:
		return fmt.Errorf("upgrade to a version of %s first", minor(wanted.Major(), oldest+maxSkew))
	case oldest+maxSkew >= runs.Minor():
		return fmt.Errorf("upgrade these to v%s first, which the control plane runs", runs)
	}
	return errors.New("remove these and join them again")
}

func minor(major, minor uint) string { return fmt.Sprintf("v%d.%d", major, minor) }
