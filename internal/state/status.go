// Package state keeps the state of each cluster in one object of its namespace, for programs that watch clusters: Argo
// CD, Flux, the exporter of metrics, kubectl. It holds the findings and the results of workflows' steps. It asks no
// machine and no cluster itself, and no operation depends on it.
package state

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Status is the state of one cluster: field "status" of a ClusterState.
type Status struct {
	// ObservedGeneration is the generation of the object that the conditions are about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are those of this package, one of each type.
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Hosted is true where Argosy provisions the control plane.
	Hosted bool `json:"hosted,omitempty"`
	// ControlPlaneVersion is the version that the API server runs, e.g. "v1.34.4".
	ControlPlaneVersion string `json:"controlPlaneVersion,omitempty"`
	// WantedVersion is that of the documents; empty where they name none.
	WantedVersion string `json:"wantedVersion,omitempty"`
	// Summary is "3/4": the machines that are Ready, and those that should be.
	Summary string `json:"summary,omitempty"`
	// Operations are the last one of each kind that worked on the cluster as a whole.
	Operations []Operation `json:"operations,omitempty"`
	// Rollout is the upgrade that runs or ran last.
	Rollout *Rollout `json:"rollout,omitempty"`
	// Backup is the last archive.
	Backup *Backup `json:"backup,omitempty"`
	// Certificates end; each name is there once.
	Certificates []Certificate `json:"certificates,omitempty"`
	// Totals of the operations on machines, in the order of their names.
	Totals []Total `json:"totals,omitempty"`
	// Machines are the rows, in the order of their names.
	Machines []Machine `json:"machines,omitempty"`
	// Omitted is how many machines there was no room for.
	Omitted int `json:"omitted,omitempty"`
}

// MachineState is the state of a machine, in one word.
type MachineState string

// The states of a machine.
const (
	// Ready: it is a Ready node of the cluster.
	Ready MachineState = "Ready"
	// Pending: it is not a node yet, or not as a join leaves it.
	Pending MachineState = "Pending"
	// Working: an operation changes it now.
	Working MachineState = "Working"
	// NotReady: its node is missing, not Ready, or lacks labels or taints.
	NotReady MachineState = "NotReady"
	// Failed: the last operation on it failed.
	Failed MachineState = "Failed"
	// Refused: it can't be worked on as it is, and nothing was changed.
	Refused MachineState = "Refused"
	// Removed: it was reset, and is still in the documents.
	Removed MachineState = "Removed"
)

// MachineStates lists all of them.
var MachineStates = []MachineState{Ready, Pending, Working, NotReady, Failed, Refused, Removed}

// Machine is the row of one machine. Five thousand of them have to fit into one object: see maxSize.
type Machine struct {
	Name    string       `json:"name"`
	Node    string       `json:"node,omitempty"`
	Version string       `json:"version,omitempty"`
	State   MachineState `json:"state"`
	// Drifted is true where the machine or its node differs from the documents.
	Drifted bool `json:"drifted,omitempty"`
	// Operation is the last one that worked on the machine, e.g. "join".
	Operation string `json:"operation,omitempty"`
	// When the row changed last.
	When metav1.Time `json:"when,omitzero"`
	// Seconds that the operation took.
	Seconds int64 `json:"seconds,omitempty"`
	// Message is one line, for states other than Ready.
	Message string `json:"message,omitempty"`
}

// Operation is the last one of its kind.
type Operation struct {
	// Name of the step, e.g. "provision-control-plane".
	Name      string      `json:"name"`
	Succeeded bool        `json:"succeeded"`
	When      metav1.Time `json:"when"`
	Seconds   int64       `json:"seconds,omitempty"`
	// Workflow that it was a step of.
	Workflow string `json:"workflow,omitempty"`
	// Message of a failure, one line.
	Message string `json:"message,omitempty"`
}

// Total sums up the operations of one kind on the machines of a cluster, since its state was made. It counts those that
// ended while a plugin followed them. A write whose answer is lost may count them twice.
type Total struct {
	// Operation is the name of the step, e.g. "join".
	Operation string `json:"operation"`
	Succeeded int64  `json:"succeeded,omitempty"`
	// Failed by the class of the error, and Retries of attempts by that of theirs.
	Failed  []ClassTotal `json:"failed,omitempty"`
	Retries []ClassTotal `json:"retries,omitempty"`
	// Bytes that machines received.
	Bytes int64 `json:"bytes,omitempty"`
	// Phases that did work, in the order in which they were first seen.
	Phases []PhaseTotal `json:"phases,omitempty"`
}

// ClassTotal is a number of errors of one class.
type ClassTotal struct {
	Class string `json:"class"`
	Count int64  `json:"count"`
}

// PhaseTotal is how often a phase did work, and how long in all.
type PhaseTotal struct {
	Name    string  `json:"name"`
	Count   int64   `json:"count"`
	Seconds float64 `json:"seconds"`
}

// Rollout is an upgrade of machines.
type Rollout struct {
	Version string      `json:"version"`
	Started metav1.Time `json:"started"`
	// Waves is how many there are, and Wave the name of the last one that ended.
	Waves int    `json:"waves,omitempty"`
	Wave  string `json:"wave,omitempty"`
	// Machines is how many take part; Upgraded and Failed count those of them that are done.
	Machines int `json:"machines"`
	Upgraded int `json:"upgraded"`
	Failed   int `json:"failed"`
	// Halted is why no machine begins any more.
	Halted string `json:"halted,omitempty"`
}

// Backup is an archive.
type Backup struct {
	Archive string      `json:"archive"`
	When    metav1.Time `json:"when"`
	Bytes   int64       `json:"bytes,omitempty"`
}

// Certificate is the end of a certificate, or the first one of several.
type Certificate struct {
	Name string      `json:"name"`
	Ends metav1.Time `json:"ends"`
}

// The names of Certificate.
const (
	// CertificateAuthority is the cluster's.
	CertificateAuthority = "authority"
	// CertificateControlPlane is the first to end among those of the control plane, its etcd and its administrator.
	CertificateControlPlane = "control-plane"
)

// machine returns the row of a machine, which it makes where there is none. The pointer holds until the next call.
func (s *Status) machine(name string) *Machine {
	at, found := slices.BinarySearchFunc(s.Machines, name, func(row Machine, name string) int {
		return strings.Compare(row.Name, name)
	})
	if !found {
		s.Machines = slices.Insert(s.Machines, at, Machine{Name: name, State: Pending})
	}
	return &s.Machines[at]
}

// earlier reports whether version a comes before b; false where one of them is unknown.
func earlier(a, b string) bool {
	first, err := version.ParseSemantic(a)
	if err != nil {
		return false
	}
	second, err := version.ParseSemantic(b)
	return err == nil && first.LessThan(second)
}

// maxMessage bounds the message of a row, in bytes.
const maxMessage = 160

// oneLine returns the first line of a message, of at most limit bytes.
func oneLine(message string, limit int) string {
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	switch {
	case len(line) <= limit:
		return line
	case limit < len("…"):
		return ""
	}
	return strings.ToValidUTF8(line[:limit-len("…")], "") + "…"
}
