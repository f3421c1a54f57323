package state

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/count"
)

// The types of conditions.
const (
	// ConditionReady is True while every machine is a Ready node, and the control plane's last provision succeeded.
	ConditionReady = "Ready"
	// ConditionDrifted is True while a machine differs from the documents.
	ConditionDrifted = "Drifted"
	// ConditionUpgradeAvailable is True while a machine runs an earlier version than the control plane, or the control
	// plane one that is earlier than the documents'.
	ConditionUpgradeAvailable = "UpgradeAvailable"
	// ConditionCertificatesExpiring is True when a certificate ends within ExpiresWithin.
	ConditionCertificatesExpiring = "CertificatesExpiring"
	// ConditionBackupFresh is True while the last archive is younger than BackupFreshFor.
	ConditionBackupFresh = "BackupFresh"
	// ConditionStalled is True while nothing but a person's or another workflow's work makes the cluster Ready. It is
	// the condition by which kstatus, and so Flux, tells a failure from work that goes on; it is absent otherwise.
	ConditionStalled = "Stalled"
)

// Bounds of conditions.
const (
	// ExpiresWithin is the time before the end of a certificate in which kubeadm and Argosy renew it or warn.
	ExpiresWithin = 30 * 24 * time.Hour
	// BackupFreshFor is a day, and two hours for the nightly backup to run.
	BackupFreshFor = 26 * time.Hour
)

// Evaluate sets the conditions and the sums of a status at a time.
func (s *Status) Evaluate(now time.Time) {
	s.countRollout()
	ready := s.ready()
	for _, condition := range []metav1.Condition{
		ready, s.drifted(), s.upgradeAvailable(), s.certificatesExpiring(now), s.backupFresh(now),
	} {
		condition.ObservedGeneration = s.ObservedGeneration
		condition.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		meta.SetStatusCondition(&s.Conditions, condition)
	}
	if ready.Status != metav1.ConditionFalse || ready.Reason == reasonWorking || ready.Reason == reasonPending {
		meta.RemoveStatusCondition(&s.Conditions, ConditionStalled)
		return
	}
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: ConditionStalled, Status: metav1.ConditionTrue, Reason: ready.Reason, Message: ready.Message,
		ObservedGeneration: s.ObservedGeneration, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	})
}

// Reasons of ConditionReady, in the order in which the first that applies is taken.
const (
	reasonControlPlane = "ControlPlaneFailed"
	reasonFailed       = "MachinesNotReady"
	reasonWorking      = "MachinesWorking"
	reasonPending      = "MachinesPending"
)

// ready returns ConditionReady and sets Summary:
//
//	control plane's last step | rows                       | status  | reason
//	failed                    | any                        | False   | ControlPlaneFailed
//	otherwise                 | one failed, refused, not ready | False | MachinesNotReady
//	otherwise                 | one is worked on           | False   | MachinesWorking
//	otherwise                 | one is pending             | False   | MachinesPending
//	none                      | none                       | Unknown | NothingKnown
//	otherwise                 | otherwise                  | True    | MachinesReady
func (s *Status) ready() metav1.Condition {
	byState := s.CountStates()
	all := len(s.Machines) - byState[Removed]
	s.Summary = fmt.Sprintf("%d/%d", byState[Ready], all)
	condition := metav1.Condition{Type: ConditionReady, Status: metav1.ConditionFalse}
	failed := s.failedControlPlane()
	bad := s.named(Failed, Refused, NotReady)
	switch {
	case failed != nil:
		condition.Reason, condition.Message = reasonControlPlane, failed.Name+": "+failed.Message
	case len(bad) > 0:
		condition.Reason, condition.Message = reasonFailed, sentence(bad, "not Ready")
	case byState[Working] > 0:
		condition.Reason, condition.Message = reasonWorking, sentence(s.named(Working), "worked on")
	case byState[Pending] > 0:
		condition.Reason, condition.Message = reasonPending, sentence(s.named(Pending), "not joined yet")
	case len(s.Machines) == 0 && len(s.Operations) == 0:
		condition.Status, condition.Reason = metav1.ConditionUnknown, "NothingKnown"
		condition.Message = "no workflow has looked at the cluster yet"
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, "MachinesReady"
		condition.Message = count.Of(byState[Ready], "machine") + " Ready"
	}
	return condition
}

// CountStates returns how many machines are in each state.
func (s *Status) CountStates() map[MachineState]int {
	byState := make(map[MachineState]int, len(MachineStates))
	for i := range s.Machines {
		byState[s.Machines[i].State]++
	}
	return byState
}

// failedControlPlane returns the last step of a provision where that failed.
func (s *Status) failedControlPlane() *Operation {
	var last *Operation
	for i, operation := range s.Operations {
		if strings.HasPrefix(operation.Name, "provision-") && (last == nil || !operation.When.Before(&last.When)) {
			last = &s.Operations[i]
		}
	}
	if last == nil || last.Succeeded {
		return nil
	}
	return last
}

// named returns the machines in one of the states.
func (s *Status) named(states ...MachineState) []string {
	var names []string
	for i := range s.Machines {
		if slices.Contains(states, s.Machines[i].State) {
			names = append(names, s.Machines[i].Name)
		}
	}
	return names
}

func (s *Status) drifted() metav1.Condition {
	var names []string
	for i := range s.Machines {
		if s.Machines[i].Drifted {
			names = append(names, s.Machines[i].Name)
		}
	}
	condition := metav1.Condition{
		Type: ConditionDrifted, Status: metav1.ConditionFalse, Reason: "AsWanted",
		Message: "no difference from the documents was found",
	}
	switch {
	case len(names) > 0:
		condition.Status, condition.Reason = metav1.ConditionTrue, "MachinesDiffer"
		condition.Message = sentence(names, "different from the documents") + "; workflow reconcile puts that right"
	case len(s.Machines) == 0:
		condition.Status, condition.Reason = metav1.ConditionUnknown, "NothingKnown"
		condition.Message = "no machine was inspected yet"
	}
	return condition
}

func (s *Status) upgradeAvailable() metav1.Condition {
	condition := metav1.Condition{Type: ConditionUpgradeAvailable, Status: metav1.ConditionTrue}
	var behind []string
	for i := range s.Machines {
		if earlier(s.Machines[i].Version, s.ControlPlaneVersion) {
			behind = append(behind, s.Machines[i].Name)
		}
	}
	switch {
	case s.ControlPlaneVersion == "":
		condition.Status, condition.Reason = metav1.ConditionUnknown, "NothingKnown"
		condition.Message = "the version of the control plane is not known yet"
	case s.Hosted && earlier(s.ControlPlaneVersion, s.WantedVersion):
		condition.Reason = "ControlPlaneBehind"
		condition.Message = fmt.Sprintf("the control plane runs %s, and the documents want %s", s.ControlPlaneVersion,
			s.WantedVersion)
	case len(behind) > 0:
		condition.Reason = "MachinesBehind"
		condition.Message = sentence(behind, "behind control plane "+s.ControlPlaneVersion)
	default:
		condition.Status, condition.Reason = metav1.ConditionFalse, "AtVersion"
		condition.Message = "no machine is behind control plane " + s.ControlPlaneVersion
	}
	return condition
}

func (s *Status) certificatesExpiring(now time.Time) metav1.Condition {
	condition := metav1.Condition{
		Type: ConditionCertificatesExpiring, Status: metav1.ConditionUnknown, Reason: "NothingKnown",
		Message: "no certificate was read yet",
	}
	var first *Certificate
	for i, one := range s.Certificates {
		if first == nil || one.Ends.Before(&first.Ends) {
			first = &s.Certificates[i]
		}
	}
	if first == nil {
		return condition
	}
	condition.Status, condition.Reason = metav1.ConditionFalse, "FarFromTheirEnd"
	condition.Message = fmt.Sprintf("certificate %s holds until %s", first.Name,
		first.Ends.UTC().Format(time.DateOnly))
	if first.Ends.Sub(now) < ExpiresWithin {
		condition.Status, condition.Reason = metav1.ConditionTrue, "EndsSoon"
		condition.Message = fmt.Sprintf("certificate %s ends on %s; workflow provision renews those of the control "+
			"plane", first.Name, first.Ends.UTC().Format(time.DateOnly))
	}
	return condition
}

func (s *Status) backupFresh(now time.Time) metav1.Condition {
	condition := metav1.Condition{Type: ConditionBackupFresh, Status: metav1.ConditionFalse}
	switch {
	case s.Backup == nil && !s.Hosted:
		condition.Status, condition.Reason = metav1.ConditionUnknown, "NotHosted"
		condition.Message = "Argosy does not host this control plane, and makes no backups of it"
	case s.Backup == nil:
		condition.Reason, condition.Message = "NoBackup", "there is no archive yet; workflow backup makes one"
	case now.Sub(s.Backup.When.Time) > BackupFreshFor:
		condition.Reason = "TooOld"
		condition.Message = fmt.Sprintf("archive %s is of %s", s.Backup.Archive,
			s.Backup.When.UTC().Format(time.DateTime))
	default:
		condition.Status, condition.Reason = metav1.ConditionTrue, "Fresh"
		condition.Message = fmt.Sprintf("archive %s is of %s", s.Backup.Archive,
			s.Backup.When.UTC().Format(time.DateTime))
	}
	return condition
}

// countRollout counts the machines that the rollout has upgraded, and those that failed in it.
func (s *Status) countRollout() {
	if s.Rollout == nil {
		return
	}
	rollout := *s.Rollout
	rollout.Upgraded, rollout.Failed = 0, 0
	for i := range s.Machines {
		row := &s.Machines[i]
		if row.Operation != OperationUpgrade || row.When.Before(&rollout.Started) {
			continue
		}
		switch {
		case row.State == Failed:
			rollout.Failed++
		case row.State == Ready && row.Version == rollout.Version:
			rollout.Upgraded++
		}
	}
	s.Rollout = &rollout
}

// sentence names machines, the first few of them, e.g. "3 machines not Ready: m1, m2, m3".
func sentence(names []string, what string) string {
	const most = 5
	text := count.Of(len(names), "machine") + " " + what + ": " + strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		text += ", …"
	}
	return text
}
