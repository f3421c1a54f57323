package state

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/errclass"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Change is one addition to a Status. It may be applied again to a newer Status, when another process wrote in the
// meantime, and so it depends on nothing but its own values.
type Change func(status *Status)

// Documents are the facts that the documents of a cluster hold.
type Documents struct {
	Hosted        bool
	WantedVersion string
	// ControlPlaneVersion is the API server's, where it was asked; empty keeps the last one.
	ControlPlaneVersion string
	// Machines are all names in argosy.yaml. Rows of other machines are removed.
	Machines []string
}

// Described records the documents.
func Described(documents Documents) Change {
	known := make(map[string]bool, len(documents.Machines))
	for _, name := range documents.Machines {
		known[name] = true
	}
	return func(status *Status) {
		status.Hosted, status.WantedVersion = documents.Hosted, documents.WantedVersion
		if documents.ControlPlaneVersion != "" {
			status.ControlPlaneVersion = documents.ControlPlaneVersion
		}
		status.Machines = slices.DeleteFunc(status.Machines, func(m Machine) bool { return !known[m.Name] })
		status.Omitted = 0
	}
}

// Observation is the state of a machine as a plan or a check found it.
type Observation struct {
	Machine string
	Node    string
	// Version of the node; empty keeps the last one.
	Version string
	// State; empty keeps the last one.
	State   MachineState
	Drifted bool
	Message string
}

// Observed records an inspection at a time. A machine that is as wanted loses the failure of an earlier operation.
func Observed(observation Observation, at time.Time) Change {
	return func(status *Status) {
		row := status.machine(observation.Machine)
		before := *row
		row.Node, row.State = observation.Node, cmp.Or(observation.State, row.State)
		if observation.State == "" && row.State == Pending && observation.Version != "" {
			row.State = Ready // its node has a version, so that it has joined
		}
		row.Drifted = observation.Drifted
		if observation.Version != "" {
			row.Version = observation.Version
		}
		if observation.State != "" {
			row.Message = ""
		}
		if observation.State != "" && observation.State != Ready || observation.Drifted {
			row.Message = oneLine(observation.Message, maxMessage)
		}
		if *row != before {
			row.When = metav1.NewTime(at.Truncate(time.Second))
		}
	}
}

// Checked records the cluster as a check found it, which does not tell whether the machine differs from the documents.
func Checked(observation Observation, at time.Time) Change {
	return func(status *Status) {
		observation := observation
		observation.Drifted = status.machine(observation.Machine).Drifted
		Observed(observation, at)(status)
	}
}

// Began records that an operation works on a machine from now on.
func Began(machine, operation string, at time.Time) Change {
	return func(status *Status) {
		row := status.machine(machine)
		row.State, row.Operation, row.When = Working, operation, metav1.NewTime(at.Truncate(time.Second))
		row.Message, row.Seconds = "", 0
	}
}

// End is how an operation on a machine ended.
type End struct {
	Machine   string
	Operation string
	// Node, Version and State after it; empty keeps the last ones.
	Node, Version string
	State         MachineState
	Message       string
	At            time.Time
	Took          time.Duration
	// Skipped operations did nothing, and are not counted.
	Skipped bool
	// Failed is the class of the error; empty for a success.
	Failed errclass.Class
	// Retries of attempts by the class of their error.
	Retries map[errclass.Class]int
	// Bytes that the machine received.
	Bytes int64
	// Phases that did work, with their seconds in all attempts.
	Phases []PhaseTotal
}

// Ended records the end of an operation on a machine.
func Ended(end End) Change {
	return func(status *Status) {
		if !end.Skipped {
			status.count(end)
		}
		row := status.machine(end.Machine)
		recovered := end.State == "" && row.State == Failed && row.Operation == end.Operation
		row.State, row.Operation = cmp.Or(end.State, row.State), end.Operation
		row.When = metav1.NewTime(end.At.Truncate(time.Second))
		row.Seconds = int64(end.Took.Round(time.Second).Seconds())
		if recovered {
			row.State, row.Message = Ready, ""
		}
		if end.State == "" {
			return
		}
		row.Message = ""
		if end.Node != "" {
			row.Node = end.Node
		}
		if end.Version != "" {
			row.Version = end.Version
		}
		switch end.State {
		case Ready:
			if end.Operation == OperationReconcile || end.Operation == OperationJoin {
				row.Drifted = false
			}
		case Removed:
			row.Version, row.Drifted = "", false
		default:
			row.Message = oneLine(end.Message, maxMessage)
		}
	}
}

// The operations on machines that change more than the row's state; their names are those of the steps.
const (
	OperationJoin      = "join"
	OperationReconcile = "reconcile"
	OperationUpgrade   = "upgrade"
	OperationRollback  = "rollback"
	OperationRemove    = "remove"
	OperationReset     = "reset"
	OperationImport    = "import-images"
)

// Settled records the end of a workflow: no operation of it works on a machine any more.
func Settled(at time.Time) Change {
	return func(status *Status) {
		for i := range status.Machines {
			Interrupted(status.Machines[i].Name, Failed, "the workflow ended before the operation did", at)(status)
		}
	}
}

// Interrupted records that an operation on a machine was ended without a result that was recorded. It changes only a
// row that is still Working.
func Interrupted(machine string, state MachineState, message string, at time.Time) Change {
	return func(status *Status) {
		row := status.machine(machine)
		if row.State != Working {
			return
		}
		row.State, row.When = state, metav1.NewTime(at.Truncate(time.Second))
		if state != Ready {
			row.Message = oneLine(message, maxMessage)
		}
	}
}

// Operated records the last operation of its kind on the cluster as a whole.
func Operated(operation Operation) Change {
	operation.Message = oneLine(operation.Message, maxMessage)
	operation.When = metav1.NewTime(operation.When.Truncate(time.Second))
	return func(status *Status) {
		replace(&status.Operations, operation, func(a, b Operation) int { return strings.Compare(a.Name, b.Name) })
	}
}

// BackedUp records an archive.
func BackedUp(backup Backup) Change {
	backup.When = metav1.NewTime(backup.When.Truncate(time.Second))
	return func(status *Status) { status.Backup = &backup }
}

// CertificateEnds records when a certificate ends.
func CertificateEnds(name string, ends time.Time) Change {
	one := Certificate{Name: name, Ends: metav1.NewTime(ends.Truncate(time.Second))}
	return func(status *Status) {
		replace(&status.Certificates, one, func(a, b Certificate) int { return strings.Compare(a.Name, b.Name) })
	}
}

// RolloutBegan records the plan of an upgrade.
func RolloutBegan(rollout Rollout) Change {
	rollout.Started = metav1.NewTime(rollout.Started.Truncate(time.Second))
	return func(status *Status) { status.Rollout = &rollout }
}

// WaveEnded records the last wave that ended, and why the rollout is halted, if it is.
func WaveEnded(wave, halted string) Change {
	return func(status *Status) {
		if status.Rollout == nil {
			return
		}
		rollout := *status.Rollout
		rollout.Wave, rollout.Halted = wave, oneLine(halted, maxMessage)
		status.Rollout = &rollout
	}
}

// replace puts item at the place of the one that equals it, or inserts it in order.
func replace[T any](items *[]T, item T, compare func(a, b T) int) {
	at, found := slices.BinarySearchFunc(*items, item, compare)
	if !found {
		*items = slices.Insert(*items, at, item)
	}
	(*items)[at] = item
}
