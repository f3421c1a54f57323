package rollout

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is what becomes of a machine that asks to be upgraded.
type Verdict string

const (
	// Start: upgrade it now, or go on with it.
	Start Verdict = "start"
	// Wait: ask again when another machine's state has changed.
	Wait Verdict = "wait"
	// Leave: don't upgrade it in this rollout.
	Leave Verdict = "leave"
)

// Decision is the answer for one machine.
type Decision struct {
	Verdict Verdict
	// Reason for people; it begins with no name, and is empty for a machine that simply starts.
	Reason string
	// MayPass: what a machine is left for has nothing to do with it or with this rollout and may be over in a minute,
	// as when a node is not Ready for a moment. Who has the patience asks again for a while before taking Leave for an
	// answer.
	MayPass bool
}

// Admit says whether the machine of that name may start now. Of machines it takes their state as it is: who asks sets
// Working before another one may ask. The first row that fits is the answer; N is MaxUnavailable:
//
//	the machine                                    the others                                      answer
//	is not in the plan, or gone from the snapshot  -                                               Leave
//	is finished, or left out meanwhile             -                                               Leave
//	is at work                                     -                                               Start, for it is never left half done
//	is pending                                     more have failed than the budget allows         Leave
//	is pending                                     a canary has failed, whatever the budget        Leave
//	is pending                                     any, but the window has closed                  Leave
//	is pending                                     an earlier wave is not finished                 Wait
//	is pending                                     fewer than N are at work or unavailable         Start
//	is pending, and unavailable already            fewer than N are at work                        Start, for it takes nothing away
//	is pending                                     N or more, and some of them are at work         Wait
//	is pending                                     N or more, one of them pending in its wave      Wait
//	is pending                                     N or more, and nobody works on any              Leave, MayPass
//
// Every machine that is unavailable counts, whether it takes part or not, and once. The last two rows keep machines
// which nobody repairs from holding up a rollout for ever, since one that waits could only wait for them: those that
// the rollout upgrades itself are begun, and when no such one is left in the wave, going on would take more away than
// may be, so that the machine stays as it is until the next rollout.
//
// A canary that was skipped proves nothing, and halts nothing.
func Admit(plan Plan, now Snapshot, name string) Decision {
	s := situation{plan, now, index(now.Machines)}
	self, reason := s.member(name)
	switch {
	case reason != "":
		return Decision{Verdict: Leave, Reason: reason}
	case self.State == Working:
		return Decision{Verdict: Start, Reason: "is at work already"}
	case plan.MaxUnavailable < 1:
		return Decision{Verdict: Leave, Reason: "the plan lets no machine be out of service"}
	}
	if halt := s.halted(); halt != nil {
		return Decision{Verdict: Leave, Reason: halt.Reason}
	}
	wave, reason := s.wave(name)
	if reason != "" {
		return Decision{Verdict: Wait, Reason: reason}
	}
	return s.room(self, wave)
}

// Halted returns why no machine that is pending begins any more; nil while one may.
func Halted(plan Plan, now Snapshot) *Halt {
	return situation{plan, now, index(now.Machines)}.halted()
}

// situation is a plan and how far it has come.
type situation struct {
	plan   Plan
	now    Snapshot
	byName map[string]*Machine
}

func index(machines []Machine) map[string]*Machine {
	byName := make(map[string]*Machine, len(machines))
	for i := range machines {
		byName[machines[i].Name] = &machines[i]
	}
	return byName
}

// member finds a machine that may have something to do, or says why it has not.
func (s situation) member(name string) (m *Machine, reason string) {
	if reason := s.plan.absence(name); reason != "" {
		return nil, reason
	}
	m = s.byName[name]
	switch {
	case m == nil:
		return nil, "is gone"
	case m.finished():
		return nil, m.end()
	}
	return m, ""
}

// absence says why a machine is in none of the plan's waves; it is empty for one that is.
func (p Plan) absence(name string) string {
	for _, wave := range p.Waves {
		if slices.Contains(wave.Machines, name) {
			return ""
		}
	}
	if slices.Contains(p.Held, name) {
		return "runs the target version as it should"
	}
	at := slices.IndexFunc(p.Skipped, func(l Left) bool { return l.Machine == name })
	if at < 0 {
		return "is not part of this rollout"
	}
	return p.Skipped[at].Reason
}

// end says how a finished machine came to its end.
func (m *Machine) end() string {
	switch {
	case m.State == Pending:
		return m.Skip
	case m.State == Failed && m.Reason != "":
		return "has failed: " + m.Reason
	case m.State == Skipped:
		return "was skipped"
	}
	return "has " + string(m.State)
}

// halted returns why nothing more is begun: failed machines, in the plan's order, or the end of the window.
func (s situation) halted() *Halt {
	var failed, canaries []string
	for _, wave := range s.plan.Waves {
		for _, name := range wave.Machines {
			m := s.byName[name]
			if m == nil || m.State != Failed {
				continue
			}
			failed = append(failed, name)
			if m.Canary {
				canaries = append(canaries, name)
			}
		}
	}
	switch {
	case len(failed) > s.plan.FailureBudget:
		return &Halt{"halted after " + list(failed)}
	case len(canaries) > 0:
		return &Halt{"halted after canary " + list(canaries)}
	case !s.now.Closed.IsZero():
		return &Halt{fmt.Sprintf("the window closed at %s, and the next run goes on",
			s.now.Closed.UTC().Format(time.TimeOnly+" MST"))}
	}
	return nil
}

// wave finds a machine's wave, or says which one it has to wait for. Machines that are gone hold up nobody.
func (s situation) wave(name string) (own Wave, waiting string) {
	for _, wave := range s.plan.Waves {
		if slices.Contains(wave.Machines, name) {
			return wave, ""
		}
		working, pending := s.unfinished(wave)
		switch {
		case len(working) > 0:
			return own, fmt.Sprintf("waiting for wave %s: %s at work", wave.Name, are(working))
		case len(pending) > 0:
			return own, fmt.Sprintf("waiting for wave %s: %s still to begin", wave.Name, are(pending))
		}
	}
	return own, ""
}

func (s situation) unfinished(wave Wave) (working, pending []string) {
	for _, name := range wave.Machines {
		m := s.byName[name]
		switch {
		case m == nil || m.finished():
		case m.State == Working:
			working = append(working, name)
		default:
			pending = append(pending, name)
		}
	}
	return working, pending
}

// room decides by who is out of service, for a pending machine whose wave it is.
func (s situation) room(self *Machine, wave Wave) Decision {
	working, idle := s.missing(self.Name)
	most := s.plan.MaxUnavailable
	switch {
	case len(working)+len(idle) < most:
		return Decision{Verdict: Start}
	case self.Unavailable && len(working) < most:
		return Decision{Verdict: Start, Reason: "is unavailable already"}
	}
	limit := fmt.Sprintf("and no more than %d may be out of service", most)
	switch {
	case len(working) > 0 && len(idle) > 0:
		return Decision{Verdict: Wait, Reason: fmt.Sprintf("%s at work and %s unavailable, %s", are(working), are(idle),
			limit)}
	case len(working) > 0:
		return Decision{Verdict: Wait, Reason: fmt.Sprintf("%s at work, %s", are(working), limit)}
	}
	if next := s.repairable(wave, self.Name); len(next) > 0 {
		return Decision{Verdict: Wait, Reason: fmt.Sprintf("%s unavailable already, and begun first", are(next))}
	}
	return Decision{Verdict: Leave, MayPass: true, Reason: fmt.Sprintf("%s unavailable already, %s", are(idle), limit)}
}

// missing are the machines that are out of service beside the one that asks, in the order of the snapshot: because
// somebody works on them, or for another reason.
func (s situation) missing(self string) (working, idle []string) {
	for i := range s.now.Machines {
		m := &s.now.Machines[i]
		switch {
		case m.Name == self:
		case m.State == Working:
			working = append(working, m.Name)
		case m.Unavailable:
			idle = append(idle, m.Name)
		}
	}
	return working, idle
}

// repairable are the wave's machines beside the one that asks which the rollout itself may bring back, since they are
// unavailable and still to be upgraded.
func (s situation) repairable(wave Wave, self string) []string {
	var names []string
	for _, name := range wave.Machines {
		m := s.byName[name]
		if name != self && m != nil && m.State == Pending && !m.finished() && m.Unavailable {
			names = append(names, name)
		}
	}
	return names
}
