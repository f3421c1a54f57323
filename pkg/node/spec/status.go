package spec

import (
	"time"

	"argosy.dev/argosy/pkg/errclass"
)

// State is the state of an operation.
type State string

// The states. Succeeded, Failed and Cancelled are final.
const (
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Final reports whether the state is final.
func (s State) Final() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Status is status.json, and the output of `argosy-node start` and `argosy-node watch`, one JSON object a line.
type Status struct {
	ID      string `json:"id"`
	Kind    Kind   `json:"kind"`
	Cluster string `json:"cluster"`
	Machine string `json:"machine"`
	// Spread is the operation's own.
	Spread bool  `json:"spread,omitempty"`
	State  State `json:"state"`
	// Sequence grows with every write of status.json, also across runs of the operation, so that no two writes look the
	// same. It is 0 in a status that was not stored, and in files of an argosy-node from before it.
	Sequence uint64 `json:"sequence,omitempty"`
	// Phase is the phase at work, or the one that failed; Index counts from 1 to Total.
	Phase string `json:"phase,omitempty"`
	Index int    `json:"index,omitempty"`
	Total int    `json:"total"`
	// Message describes the present work, in the present tense: "starting containerd".
	Message  string    `json:"message,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	// Feed is the key of the archive that the operation waits to be sent; empty when it waits for none.
	Feed string `json:"feed,omitempty"`
	// AwaitsAdmission is true while a join waits until the plugin admits it to the API server.
	AwaitsAdmission bool    `json:"awaitsAdmission,omitempty"`
	Phases          []Phase `json:"phases"`
	// Changed is false when every phase already held.
	Changed  bool      `json:"changed"`
	Started  time.Time `json:"started"`
	Updated  time.Time `json:"updated"`
	Finished time.Time `json:"finished,omitzero"`
	Error    *Error    `json:"error,omitempty"`
}

// Progress of a transfer, in bytes.
type Progress struct {
	Done int64 `json:"done"`
	// Total is 0 when it is unknown.
	Total int64 `json:"total"`
	// Rate in bytes a second, averaged over the last seconds.
	Rate int64 `json:"rate"`
	// What names the transfer, where a phase has several one after another: "app.tar (2 of 5)".
	What string `json:"what,omitempty"`
}

// Outcome of one phase.
type Outcome string

// The outcomes.
const (
	// Held: the machine was already as the phase wants it; nothing was done.
	Held Outcome = "held"
	// Applied: the phase changed the machine.
	Applied Outcome = "applied"
	// Wanted: the phase would change the machine (plan only).
	Wanted Outcome = "wanted"
	// FailedPhase: the phase could not be carried out.
	FailedPhase Outcome = "failed"
)

// CanBecomeNode begins the detail of a join's preflight on a machine without problems; its remarks follow.
const CanBecomeNode = "the machine can become a node"

// Phase is the result of one phase.
type Phase struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	// Detail describes the state, the work done or the work wanted: "kubelet v1.34.4".
	Detail  string  `json:"detail,omitempty"`
	Seconds float64 `json:"seconds"`
	// Bytes that the phase received, from the plugin or a repository, also of transfers that broke off.
	Bytes int64 `json:"bytes,omitempty"`
	// Changes are the differences (plan only).
	Changes []Change `json:"changes,omitempty"`
}

// Change is one thing on a machine that is not as wanted.
type Change struct {
	// What names it: a file's path, "sysctl net.ipv4.ip_forward", "binary /usr/local/bin/kubelet".
	What string `json:"what"`
	// Diff is unified, from the present to the wanted content; empty for secrets and binaries.
	Diff string `json:"diff,omitempty"`
	// Effect is that of making the change.
	Effect Effect `json:"effect"`
}

// Effect is the effect of a change on a machine that is a node already.
type Effect string

// The effects.
const (
	// NoRestart: it is put right while everything runs on.
	NoRestart Effect = "none"
	// RestartsKubelet: pods run on.
	RestartsKubelet Effect = "restarts kubelet"
	// RestartsContainerd: pods run on, none starts or ends meanwhile.
	RestartsContainerd Effect = "restarts containerd"
	// NeedsDrain: the kubelet is restarted and gives out CPUs and memory anew, for which no pods may run.
	NeedsDrain Effect = "restarts kubelet, needs a drained node"
	// NeedsRejoin: it holds from the machine's next join on.
	NeedsRejoin Effect = "needs a rejoin"
)

// Error is why an operation ended without success.
type Error struct {
	Class errclass.Class `json:"class"`
	Phase string         `json:"phase"`
	// Message is the whole error in sentences; preflight lists every problem in Problems as well.
	Message  string   `json:"message"`
	Problems []string `json:"problems,omitempty"`
	// Command can be pasted into a shell on the machine to see it again.
	Command string `json:"command,omitempty"`
	// Tail is the last lines of the command's output.
	Tail []string `json:"tail,omitempty"`
	// Hint is the next thing to do.
	Hint string `json:"hint,omitempty"`
}
