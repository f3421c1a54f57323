package rollout

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is the answer to a machine that asks to be upgraded.
type Verdict string

const (
	// Start tells it to begin its upgrade, or to go on with it.
	Start Verdict = "start"
	// Wait tells it to ask again when another machine's state has changed.
	Wait Verdict = "wait"
	// Leave tells it that this rollout does not upgrade it.
	Leave Verdict = "leave"
)

// Decision is the answer for one machine.
type Decision struct {
	Verdict Verdict
	// Reason for people, without the machine's name; empty for a machine that simply starts.
	Reason string
	// MayPass: the reason for Leave lies outside this rollout and may be over in a minute, as when a node is not Ready
	// for a moment. Callers ask again for a while before they leave the machine.
	MayPass bool
	// Allowed is that of [Halt], for Leave.
	Allowed bool
	// Paused is true where a Wait lasts until a person resumes the rollout.
	Paused bool
}

// Reasons that a person gave, also for rollbacks, which have no plan.
const (
	ReasonPaused  = `the rollout is paused, until "argosy resume"`
	ReasonAborted = "the rollout was aborted"
)

// Admit decides whether the machine of that name may start now. Callers set a machine to Working before they ask for
// another one. The first row that fits is the answer; N is MaxUnavailable:
//
//	the machine                          the others                                  answer
//	is not in the plan or the snapshot   -                                           Leave
//	is pending, and its node is gone     -                                           Leave
//	is finished, or left out meanwhile   -                                           Leave
//	is at work                           -                                           Start, never left half done
//	is pending                           more have failed than the budget allows     Leave
//	is pending                           a canary has failed, whatever the budget    Leave
//	is pending                           any, but the rollout was aborted            Leave
//	is pending                           any, but the window has closed              Leave
//	is pending                           any, but the rollout is paused              Wait, Paused
//	is pending                           an earlier wave is not finished             Wait
//	is pending                           fewer than N are at work or unavailable     Start
//	is pending, and unavailable already  fewer than N are at work                    Start, it takes nothing away
//	is pending                           N or more, and some of them are at work     Wait
//	is pending                           N or more, one of them pending in its wave  Wait
//	is pending                           N or more, and none of them is at work      Leave, MayPass
//
// Every unavailable machine counts once, whether it takes part or not. Without the last two rows, a rollout would wait
// for ever for machines that stay unavailable. Those in the wave start first, since their upgrade may repair them. If
// none is left in the wave, one more would exceed MaxUnavailable, and the machine stays as it is until the next
// rollout.
//
// A canary that was skipped proves nothing, and halts nothing. A machine of the plan whose node is gone counts as
// failed and as unavailable: it served when the plan was made.
func (s *Situation) Admit(name string) Decision {
	self, reason := s.member(name)
	switch {
	case reason != "":
		return Decision{Verdict: Leave, Reason: reason, Allowed: s.leftOut(name)}
	case self.State == Working:
		return Decision{Verdict: Start, Reason: "is at work already"}
	case s.plan.MaxUnavailable < 1:
		return Decision{Verdict: Leave, Reason: "the plan lets no machine be out of service"}
	}
	if s.halt != nil {
		return Decision{Verdict: Leave, Reason: s.halt.Reason, Allowed: s.halt.Allowed}
	}
	if s.now.Paused {
		return Decision{Verdict: Wait, Paused: true, Reason: ReasonPaused}
	}
	wave, reason := s.wave(name)
	if reason != "" {
		return Decision{Verdict: Wait, Reason: reason}
	}
	return s.byAvailability(self, wave)
}

// Next returns the machines of a wave that will begin while the machine of that name is at work, in their order: those
// that are pending and available, as far as MaxUnavailable lets them be out of service together with all that are
// already. Of a rollout that is halted or paused there are none.
func (s *Situation) Next(name string) []string {
	wave, waiting := s.wave(name)
	if !s.planned(name) || waiting != "" || s.halt != nil || s.now.Paused {
		return nil
	}
	working, idle := s.missing(name)
	var next []string
	for _, other := range wave.Machines {
		m := s.byName[other]
		if len(working)+len(idle)+1+len(next) >= s.plan.MaxUnavailable {
			break
		}
		if other != name && m != nil && m.State == Pending && m.Skip == "" && !m.Unavailable {
			next = append(next, other)
		}
	}
	return next
}

// Halt returns why no pending machine may start any more; nil while one may.
func (s *Situation) Halt() *Halt { return s.halt }

// Machine returns the machine of that name; the zero Machine where the snapshot has none.
func (s *Situation) Machine(name string) Machine {
	if m := s.byName[name]; m != nil {
		return *m
	}
	return Machine{}
}

// State returns where the machine of that name stands; Pending where the snapshot has none.
func (s *Situation) State(name string) State { return s.Machine(name).State }

// Unproven reports whether the plan's canaries are all finished and none of them runs the version: nothing has been
// shown of it to the machines that come next. A plan without canaries has nothing to show.
func (s *Situation) Unproven(version string) bool {
	canaries := false
	for _, wave := range s.plan.Waves {
		for _, name := range wave.Machines {
			m := s.byName[name]
			switch {
			case !wave.Canary || m == nil:
				continue
			case m.State == Succeeded || m.Version == version || !m.finished():
				return false
			}
			canaries = true
		}
	}
	return canaries
}

// Situation is a plan and how far it has come at one moment. Its methods only read.
type Situation struct {
	plan   Plan
	now    Snapshot
	byName map[string]*Machine
	// waveOf has the index of each machine's wave.
	waveOf map[string]int
	halt   *Halt
}

// Situate returns the situation of a plan. The part that all machines share is computed once.
func Situate(plan Plan, now Snapshot) *Situation {
	s := &Situation{
		plan: plan, now: now,
		byName: make(map[string]*Machine, len(now.Machines)), waveOf: make(map[string]int, plan.Size()),
	}
	for i := range now.Machines {
		s.byName[now.Machines[i].Name] = &now.Machines[i]
	}
	for i, wave := range plan.Waves {
		for _, name := range wave.Machines {
			s.waveOf[name] = i
		}
	}
	s.halt = s.halted()
	return s
}

// member returns a machine that is not finished, or the reason why it has nothing to do.
func (s *Situation) member(name string) (m *Machine, reason string) {
	if reason := s.absence(name); reason != "" {
		return nil, reason
	}
	m = s.byName[name]
	switch {
	case m == nil:
		return nil, "is gone"
	case m.State == Pending && m.Version == "":
		return nil, "its node is gone"
	case m.finished():
		return nil, m.end()
	}
	return m, ""
}

// leftOut reports whether a policy keeps a machine out of the rollout, or it is finished as it should be.
func (s *Situation) leftOut(name string) bool {
	if s.absence(name) != "" {
		return true
	}
	m := s.byName[name]
	return m != nil && m.State != Failed && m.State != Left && (m.State != Pending || m.Version != "")
}

// absence returns why a machine is in none of the plan's waves; empty for one that is.
func (s *Situation) absence(name string) string {
	if s.planned(name) {
		return ""
	}
	if slices.Contains(s.plan.Held, name) {
		return "runs the target version"
	}
	at := slices.IndexFunc(s.plan.Skipped, func(l SkippedMachine) bool { return l.Machine == name })
	if at < 0 {
		return "is not part of this rollout"
	}
	return s.plan.Skipped[at].Reason
}

// end returns how a finished machine ended.
func (m *Machine) end() string {
	switch {
	case m.State == Pending:
		return m.Skip
	case m.State == Failed && m.Reason != "":
		return "has failed: " + m.Reason
	case m.State == Skipped:
		return "was skipped"
	case m.State == Left && m.Reason != "":
		return m.Reason
	case m.State == Left:
		return "was left"
	}
	return "has " + string(m.State)
}

// halted returns why no more machines start: machines that failed, in the plan's order, a person who aborted the
// rollout, or the end of the window.
func (s *Situation) halted() *Halt {
	var failed, canaries []string
	for _, wave := range s.plan.Waves {
		for _, name := range wave.Machines {
			m := s.byName[name]
			if m == nil || m.State != Failed && m.Version != "" {
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
		return &Halt{Reason: "halted after " + list(failed)}
	case len(canaries) > 0:
		return &Halt{Reason: "halted after canary " + list(canaries)}
	case s.now.Aborted:
		return &Halt{Reason: ReasonAborted}
	case !s.now.Closed.IsZero():
		return &Halt{Allowed: true, Reason: fmt.Sprintf("the window closed at %s; the next run upgrades the rest",
			s.now.Closed.UTC().Format(time.TimeOnly+" MST"))}
	}
	return nil
}

// wave returns a machine's wave, or the earlier one that it has to wait for. Machines that are gone are not waited for.
func (s *Situation) wave(name string) (own Wave, waiting string) {
	last, has := s.waveOf[name]
	for i, wave := range s.plan.Waves {
		if has && i == last {
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

func (s *Situation) unfinished(wave Wave) (working, pending []string) {
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

// byAvailability decides by the number of machines out of service, for a pending machine whose wave it is.
func (s *Situation) byAvailability(self *Machine, wave Wave) Decision {
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

// missing returns the other machines that are out of service, in the order of the snapshot: those at work, and those
// that are unavailable for another reason.
func (s *Situation) missing(self string) (working, idle []string) {
	for i := range s.now.Machines {
		m := &s.now.Machines[i]
		switch {
		case m.Name == self:
		case m.State == Working:
			working = append(working, m.Name)
		case m.Unavailable || m.Version == "" && s.planned(m.Name):
			idle = append(idle, m.Name)
		}
	}
	return working, idle
}

func (s *Situation) planned(name string) bool {
	_, has := s.waveOf[name]
	return has
}

// repairable returns the wave's other machines that are unavailable and pending: their upgrade may repair them.
func (s *Situation) repairable(wave Wave, self string) []string {
	var names []string
	for _, name := range wave.Machines {
		m := s.byName[name]
		if name != self && m != nil && m.State == Pending && !m.finished() && m.Unavailable {
			names = append(names, name)
		}
	}
	return names
}
