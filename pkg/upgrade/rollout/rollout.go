// Package rollout decides which machines of a cluster are upgraded when: a snapshot of them and a policy go in, waves
// and answers come out. It has no clock and no client, remembers nothing between two calls, and never touches a
// machine.
package rollout

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// State is where a machine stands in this rollout.
type State string

const (
	// Pending machines wait: nothing was done to them yet.
	Pending State = ""
	// Working machines have begun their upgrade and not ended it.
	Working State = "working"
	// Succeeded machines run the target version.
	Succeeded State = "succeeded"
	// Failed machines do not, also when they were rolled back to the version that they had.
	Failed State = "failed"
	// Skipped machines were not upgraded, as they should be: the window closed, or their drain was told to skip.
	Skipped State = "skipped"
	// Left machines were not upgraded because others failed or were unavailable. Like Skipped it halts nothing, but the
	// rollout has not reached its aim.
	Left State = "left"
)

// Machine is one machine as the planner sees it.
type Machine struct {
	// Name is Argosy's, and no other machine of the snapshot has it.
	Name string
	// Version of its kubelet, "v1.33.13"; empty when it has no node.
	Version string
	// Zone is the value of the zone label, empty for none.
	Zone string
	// Canary machines go before all others.
	Canary bool
	// FailedBefore: it failed in an earlier rollout to this version.
	FailedBefore bool
	// Unavailable: its node is not Ready, or is cordoned, and not by its upgrade.
	Unavailable bool
	// Differs: it runs the target version, and not as the documents want it, so that it takes part too.
	Differs bool
	// Skip is why it takes no part: "label vcluster.loft.sh/skip-auto-upgrade", "not selected"; empty when it does.
	Skip string
	// State in this rollout. Only [Situation.Admit] looks at it.
	State State
	// Reason of Failed, Skipped and Left.
	Reason string
}

// finished reports whether this rollout has nothing more to do with the machine, also because it takes no part any
// more.
func (m *Machine) finished() bool {
	switch m.State {
	case Pending:
		return m.Skip != ""
	case Working:
		return false
	}
	return true
}

// Policy bounds a rollout. Amounts are numbers (2, "2") or percentages ("25%") of the machines that take part.
type Policy struct {
	// Target is the version that all machines are to have, "v1.34.4".
	Target string
	// MaxUnavailable is how many machines may be out of service at once, for whatever reason. Percentages are rounded
	// down, as those of a Deployment's maxUnavailable are, and to 1 at least, since a rollout that may touch nothing
	// never ends.
	MaxUnavailable intstr.IntOrString
	// WaveSize is how many machines make up a wave; percentages are rounded up. Gates and pauses lie between waves. The
	// zero value means as many as MaxUnavailable. A smaller size bounds how many are worked on at once as well.
	WaveSize intstr.IntOrString
	// FailureBudget is how many machines may fail before no other one is begun; percentages are rounded down. The zero
	// value halts at the first failure.
	FailureBudget intstr.IntOrString
	// MaxWaves bounds how many waves a plan has, 2 at least when it has canaries. The zero value means
	// [DefaultMaxWaves].
	MaxWaves int
}

// defaultMaxWaves keeps a workflow that has a template call itself once per wave below Argo's limit of 100 nested
// templates (maxAllowedStackDepth of its controller), with room for the templates around it.
const defaultMaxWaves = 80

// Plan is who is upgraded in which wave, and who is not. It is made once, before anything begins, and holds to the end.
// Each step of a rollout gets its JSON, which is therefore without the machines that no step works on.
type Plan struct {
	// Waves in order: each begins when the one before it is finished.
	Waves []Wave `json:"waves"`
	// Skipped machines are left out; by name.
	Skipped []SkippedMachine `json:"-"`
	// Held are the machines that run the target version as they should; by name.
	Held []string `json:"-"`
	// MaxUnavailable and FailureBudget of the policy, in machines.
	MaxUnavailable int `json:"maxUnavailable"`
	FailureBudget  int `json:"failureBudget"`
	// Until is when nothing more is begun; zero for never.
	Until time.Time `json:"until,omitzero"`
}

// Wave is a number of machines between two gates.
type Wave struct {
	// Name for people: "canary", "zone-a", "zone-a 2", or "2" where machines have no zones.
	Name string `json:"name"`
	// Machines in the order in which they are best begun.
	Machines []string `json:"machines"`
	// Canary is true where the machines are canaries.
	Canary bool `json:"canary,omitempty"`
}

// SkippedMachine is a machine that takes no part, and why.
type SkippedMachine struct {
	Machine, Reason string
}

// Equal reports whether the steps of a rollout do the same by either plan: those that no step works on do not count.
func (p Plan) Equal(other Plan) bool {
	return p.MaxUnavailable == other.MaxUnavailable && p.FailureBudget == other.FailureBudget &&
		p.Until.Equal(other.Until) &&
		slices.EqualFunc(p.Waves, other.Waves, func(a, b Wave) bool {
			return a.Name == b.Name && a.Canary == b.Canary && slices.Equal(a.Machines, b.Machines)
		})
}

// Size returns how many machines take part.
func (p Plan) Size() int {
	size := 0
	for _, wave := range p.Waves {
		size += len(wave.Machines)
	}
	return size
}

// Has reports whether a machine is in one of the plan's waves.
func (p Plan) Has(machine string) bool {
	return slices.ContainsFunc(p.Waves, func(w Wave) bool { return slices.Contains(w.Machines, machine) })
}

// Wave returns the wave of that name, and whether there is one.
func (p Plan) Wave(name string) (Wave, bool) {
	at := slices.IndexFunc(p.Waves, func(w Wave) bool { return w.Name == name })
	if at < 0 {
		return Wave{}, false
	}
	return p.Waves[at], true
}

// Snapshot is a rollout at one moment.
type Snapshot struct {
	// Machines of the cluster, those that take no part included.
	Machines []Machine
	// Closed is when the time in which machines may begin ended; zero while it lasts.
	Closed time.Time
	// Paused: no machine begins until a person resumes the rollout.
	Paused bool
	// Aborted: a person ended the rollout, and no machine begins any more.
	Aborted bool
}

// Halt is why a rollout begins no more machines, or does not upgrade one of them. As an error it ends the upgrade of a
// machine without failing it.
type Halt struct {
	// Reason in a few words: "halted after m1, m2".
	Reason string
	// Allowed is true where the rollout may succeed without the machine: the window closed, a policy leaves it out, or
	// its drain was told to skip.
	Allowed bool
}

func (h *Halt) Error() string { return h.Reason }
