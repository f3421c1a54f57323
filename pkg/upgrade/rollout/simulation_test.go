package rollout_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"

	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// dice chooses one of n.
type dice func(n int) int

func seeded(seed uint64) dice { return rand.New(rand.NewPCG(seed, 1)).IntN }

// simulation drives a whole rollout as its caller would, and judges each step by rules of its own: it knows the
// policy's amounts from the test, and counts and compares without the package.
type simulation struct {
	t        testing.TB
	plan     rollout.Plan
	machines []rollout.Machine
	policy   rollout.Policy
	// most and budget are MaxUnavailable and FailureBudget in machines.
	most, budget int
	// choose decides orders, and how long a machine takes.
	choose dice
	// outcome decides how a machine ends; nil means that choose does.
	outcome map[string]rollout.State
	// incidents is how many times a node may go down, come back, get a skip label or be deleted by itself.
	incidents int

	started map[string]bool
	// downByItself: machines that were unavailable before their upgrade began.
	downByItself map[string]bool
	// deleted has the versions of the machines whose nodes were deleted.
	deleted map[string]string
	// said is the last answer to a machine.
	said map[string]rollout.Decision
	// changes is how many times something has happened.
	changes int
	lines   []string
}

func (s *simulation) run() {
	s.started, s.downByItself, s.said = map[string]bool{}, map[string]bool{}, map[string]rollout.Decision{}
	s.deleted = map[string]string{}
	for _, m := range s.machines {
		s.downByItself[m.Name] = m.Unavailable
	}
	for rounds := 0; s.round(); rounds++ {
		if rounds > 10*len(s.machines)+10*s.incidents {
			s.fatal("the rollout does not end")
		}
	}
	for _, wave := range s.plan.Waves {
		for _, name := range wave.Machines {
			if state := s.machine(name).State; state == rollout.Pending || state == rollout.Working {
				s.fatal("%s ended as %q", name, state)
			}
		}
	}
}

// round lets every pending machine ask, and reports whether anything changed. In between machines end.
func (s *simulation) round() bool {
	before, pending := s.changes, s.in(rollout.Pending)
	s.shuffle(pending)
	for _, name := range pending {
		s.ask(name)
		if s.choose(3) == 1 {
			s.end()
		}
		if s.incidents > 0 && s.choose(4) == 1 {
			s.incident()
		}
	}
	if !s.end() && len(pending) > 0 && s.changes == before {
		s.fatal("%v wait, and no machine is at work", pending)
	}
	return s.changes > before
}

// in are the plan's machines in a state, in its order.
func (s *simulation) in(state rollout.State) []string {
	var names []string
	for _, wave := range s.plan.Waves {
		for _, name := range wave.Machines {
			if s.machine(name).State == state {
				names = append(names, name)
			}
		}
	}
	return names
}

func (s *simulation) machine(name string) *rollout.Machine {
	at := slices.IndexFunc(s.machines, func(m rollout.Machine) bool { return m.Name == name })
	return &s.machines[at]
}

func (s *simulation) shuffle(names []string) {
	for i := range names {
		j := i + s.choose(len(names)-i)
		names[i], names[j] = names[j], names[i]
	}
}

func (s *simulation) ask(name string) {
	answer := rollout.Situate(s.plan, rollout.Snapshot{Machines: s.machines}).Admit(name)
	if answer != s.said[name] {
		s.tell("%s: %s", name, strings.TrimSuffix(fmt.Sprintf("%s: %s", answer.Verdict, answer.Reason), ": "))
	}
	s.said[name] = answer
	m := s.machine(name)
	switch answer.Verdict {
	case rollout.Start:
		s.judgeStart(m)
		s.started[name] = true
		m.State = rollout.Working
		s.changes++
		s.judgeAvailability(m)
	case rollout.Leave:
		m.State = rollout.Skipped
		s.changes++
	case rollout.Wait:
	default:
		s.fatal("%s got no answer", name)
	}
}

// end ends one machine that is worked on.
func (s *simulation) end() bool {
	working := s.in(rollout.Working)
	if len(working) == 0 {
		return false
	}
	m := s.machine(working[s.choose(len(working))])
	m.State = s.outcomeOf(m.Name)
	s.changes++
	switch m.State {
	case rollout.Succeeded:
		m.Version, m.Unavailable = s.policy.Target, false
		s.downByItself[m.Name] = false
	case rollout.Failed:
		m.Reason = "kubelet is not Ready"
		m.Unavailable = m.Unavailable || s.choose(4) == 1
	}
	s.tell("%s %s", m.Name, m.State)
	return true
}

func (s *simulation) outcomeOf(name string) rollout.State {
	if s.outcome != nil {
		if state := s.outcome[name]; state != rollout.Pending {
			return state
		}
		return rollout.Succeeded
	}
	switch s.choose(6) {
	case 4:
		return rollout.Skipped
	case 5:
		return rollout.Failed
	}
	return rollout.Succeeded
}

// incident changes a machine that is not at work.
func (s *simulation) incident() {
	m := &s.machines[s.choose(len(s.machines))]
	s.incidents--
	s.changes++
	switch {
	case m.State == rollout.Working:
	case m.Version == "":
		if version, was := s.deleted[m.Name]; was {
			m.Version = version
			s.tell("%s has a node again", m.Name)
		}
	case s.choose(6) == 1:
		s.deleted[m.Name], m.Version = m.Version, ""
		s.tell("%s loses its node", m.Name)
	case m.State == rollout.Pending && s.choose(4) == 1:
		m.Skip = "label skip"
		s.tell("%s gets a label", m.Name)
	default:
		m.Unavailable = !m.Unavailable
		s.downByItself[m.Name] = m.Unavailable
		s.tell("%s becomes unavailable: %t", m.Name, m.Unavailable)
	}
}

// judgeStart checks the invariants of a machine that starts.
func (s *simulation) judgeStart(m *rollout.Machine) {
	target := version.MustParseSemantic(s.policy.Target)
	switch {
	case s.started[m.Name] || m.State != rollout.Pending:
		s.fatal("%s starts twice", m.Name)
	case m.Skip != "":
		s.fatal("%s starts though it is left out", m.Name)
	case m.Version == "":
		s.fatal("%s starts without a node", m.Name)
	case target.LessThan(version.MustParseSemantic(m.Version)):
		s.fatal("%s is ahead of the target", m.Name)
	case !m.Differs && !version.MustParseSemantic(m.Version).LessThan(target):
		s.fatal("%s has nothing to be upgraded to", m.Name)
	}
	if failed := append(s.in(rollout.Failed), s.gone()...); len(failed) > s.budget {
		s.fatal("%s starts after %v failed", m.Name, failed)
	} else if slices.ContainsFunc(failed, func(name string) bool { return s.machine(name).Canary }) {
		s.fatal("%s starts after a canary among %v failed", m.Name, failed)
	}
	for _, wave := range s.plan.Waves {
		if slices.Contains(wave.Machines, m.Name) {
			return
		}
		for _, name := range wave.Machines {
			if other := s.machine(name); other.State == rollout.Working || other.State == rollout.Pending &&
				other.Skip == "" {
				s.fatal("%s starts before wave %q is finished: %s is not", m.Name, wave.Name, name)
			}
		}
	}
}

// gone returns the plan's machines whose nodes are gone, without those that have failed.
func (s *simulation) gone() []string {
	var names []string
	for name := range s.deleted {
		if m := s.machine(name); m.Version == "" && s.plan.Has(name) && m.State != rollout.Failed {
			names = append(names, name)
		}
	}
	return names
}

// judgeAvailability checks the invariants after a machine has started.
func (s *simulation) judgeAvailability(begun *rollout.Machine) {
	working, missing, ours := 0, 0, 0
	for _, m := range s.machines {
		at := m.State == rollout.Working
		if at {
			working++
		}
		gone := m.Version == "" && s.plan.Has(m.Name)
		if at || m.Unavailable || gone {
			missing++
		}
		if (at || m.Unavailable) && !gone && !s.downByItself[m.Name] {
			ours++
		}
	}
	switch {
	case working > s.most:
		s.fatal("%d machines are worked on, %d may be", working, s.most)
	case ours > s.most:
		s.fatal("%d machines are unavailable because of the rollout, %d may be", ours, s.most)
	case missing > s.most && !begun.Unavailable:
		s.fatal("%d machines are unavailable as %s starts, %d may be", missing, begun.Name, s.most)
	}
}

func (s *simulation) tell(format string, values ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, values...))
}

func (s *simulation) fatal(format string, values ...any) {
	s.t.Helper()
	s.t.Fatalf("%s\n\n%s", fmt.Sprintf(format, values...), s.transcript())
}

func (s *simulation) transcript() string {
	return show(s.plan) + "\n" + strings.Join(s.lines, "\n") + "\n"
}

func show(plan rollout.Plan) string {
	var text strings.Builder
	for _, wave := range plan.Waves {
		_, _ = fmt.Fprintf(&text, "wave %s: %s\n", wave.Name, strings.Join(wave.Machines, " "))
	}
	for _, left := range plan.Skipped {
		_, _ = fmt.Fprintf(&text, "skipped %s: %s\n", left.Machine, left.Reason)
	}
	if len(plan.Held) > 0 {
		_, _ = fmt.Fprintf(&text, "held %s\n", strings.Join(plan.Held, " "))
	}
	return text.String()
}

// fleet makes machines m1 to m<n> at the version before the target.
func fleet(n int, changes ...func(*rollout.Machine)) []rollout.Machine {
	var machines []rollout.Machine
	for i := range n {
		m := rollout.Machine{Name: "m" + strconv.Itoa(i+1), Version: "v1.33.13"}
		for _, change := range changes {
			change(&m)
		}
		machines = append(machines, m)
	}
	return machines
}

// with changes the machines of these names.
func with(change func(*rollout.Machine), names ...string) func(*rollout.Machine) {
	return func(m *rollout.Machine) {
		if slices.Contains(names, m.Name) {
			change(m)
		}
	}
}

func zone(zone string, names ...string) func(*rollout.Machine) {
	return with(func(m *rollout.Machine) { m.Zone = zone }, names...)
}

func canary(m *rollout.Machine)      { m.Canary = true }
func unavailable(m *rollout.Machine) { m.Unavailable = true }
