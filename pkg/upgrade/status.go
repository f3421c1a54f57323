package upgrade

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordination "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"argosy.dev/argosy/internal/apply"
	"argosy.dev/argosy/pkg/drain"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

// Status is how the rollout of a cluster stands, as the Lease, the nodes and the record tell it.
type Status struct {
	// Rollout that is under way, and since when; empty and zero for none.
	Rollout string    `json:"rollout,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Renewed is when a process that works on it renewed its Lease last, by that computer's clock.
	Renewed time.Time `json:"renewed,omitzero"`
	Request Request   `json:"request,omitempty"`
	// Version of the control plane, or the one that the rollout goes to where a machine has noted it.
	Version  string          `json:"version"`
	Machines []MachineStatus `json:"machines"`

	// idle is true where this process has seen the Lease unchanged for its whole life.
	idle bool
}

// MachineStatus is one machine in it.
type MachineStatus struct {
	Machine string `json:"machine"`
	Node    string `json:"node"`
	// Version of its kubelet; empty where it has no node.
	Version string `json:"version,omitempty"`
	// State that the rollout noted, or the last one where none is under way; empty for none.
	State rollout.State `json:"state,omitempty"`
	// Reason why it failed or was left.
	Reason string `json:"reason,omitempty"`
	// Cordoned is true where a rollout cordoned its node, Unschedulable where anything has.
	Cordoned      bool `json:"cordoned,omitempty"`
	Unschedulable bool `json:"unschedulable,omitempty"`
}

// Status returns how the rollout of the cluster stands, whichever process works on it. It changes nothing.
func (u *Upgrader) Status(ctx context.Context) (Status, error) {
	status := Status{Version: u.Version}
	var found *coordination.Lease
	noted := map[string]string{}
	err := u.retrying(ctx, operation.NoProgress{}, func(ctx context.Context) (err error) {
		found, err = u.leases().Get(ctx, leaseName, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			found = &coordination.Lease{}
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading Lease %s/%s: %w", metav1.NamespaceSystem, leaseName, apply.Classify(err))
		}
		name := recordOf(holderOf(found))
		kept, err := u.Target.Client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading ConfigMap %s/%s: %w", metav1.NamespaceSystem, name, apply.Classify(err))
		}
		if err == nil {
			noted = kept.Data
		}
		return nil
	})
	if err != nil {
		return status, err
	}
	status.ofLease(found)
	status.idle = status.Rollout != "" && !u.heldByOther(found)
	nodes, err := u.Target.Nodes(ctx, u.Cluster.Name)
	if err != nil {
		return status, err
	}
	for _, machine := range u.Cluster.Fleet.Machines {
		one := MachineStatus{Machine: machine.Name, Node: machine.NodeName}
		recorded := status.stateOf(nodes[machine.NodeName], noted[machine.NodeName])
		one.State, one.Reason = recorded.State, recorded.Reason
		if status.Rollout != "" {
			status.Version = cmp.Or(recorded.Version, status.Version)
		}
		if node := nodes[machine.NodeName]; node != nil {
			one.Version, one.Unschedulable = node.Status.NodeInfo.KubeletVersion, node.Spec.Unschedulable
			one.Cordoned = drain.Owns(node, cordonOwner) || drain.Owns(node, waveOwner)
		}
		status.Machines = append(status.Machines, one)
	}
	return status, nil
}

// ofLease fills in the facts of the Lease.
func (s *Status) ofLease(lease *coordination.Lease) {
	s.Rollout = holderOf(lease)
	s.Request = requestOf(lease, s.Rollout)
	if lease.Spec.AcquireTime != nil {
		s.Since = lease.Spec.AcquireTime.UTC()
	}
	if lease.Spec.RenewTime != nil {
		s.Renewed = lease.Spec.RenewTime.UTC()
	}
}

// stateOf returns the state of a machine: that of the rollout under way, at its node or else in the record, or the last
// one where none is.
func (s *Status) stateOf(node *corev1.Node, noted string) (recorded state) {
	if node != nil {
		recorded = stateOf(node)
	}
	if s.Rollout == "" || recorded.Rollout == s.Rollout {
		return recorded
	}
	recorded = state{}
	_ = json.Unmarshal([]byte(noted), &recorded) // one that can't be parsed counts as none
	return recorded
}

// String is one line for people.
//
//	rollout 7c0e… is paused: 3 of 5 machines are at v1.34.4, 1 at work
//	no rollout is under way: 5 of 5 machines are at v1.34.4
func (s Status) String() string {
	at, working := 0, 0
	for _, machine := range s.Machines {
		if machine.Version == s.Version {
			at++
		}
		if machine.State == rollout.Working {
			working++
		}
	}
	text := "no rollout is under way"
	switch {
	case s.Rollout == "":
	case s.Request == Pause:
		text = fmt.Sprintf("rollout %s is paused", s.Rollout)
	case s.Request == Abort:
		text = fmt.Sprintf("rollout %s was aborted", s.Rollout)
	default:
		text = fmt.Sprintf("rollout %s is under way", s.Rollout)
	}
	text += fmt.Sprintf(": %d of %d machines are at %s", at, len(s.Machines), s.Version)
	if working > 0 && s.Rollout != "" {
		text += fmt.Sprintf(", %d at work", working)
	}
	return text
}

// Table prints the machines for people.
func (s Status) Table() string {
	table := operation.NewTable("MACHINE", "NODE", "VERSION", "STATE", "WHY")
	for _, machine := range s.Machines {
		shown := cmp.Or(string(machine.State), "-")
		if s.Rollout != "" && machine.State == rollout.Pending {
			shown = "not begun"
		}
		switch {
		case machine.Cordoned:
			shown += ", cordoned by a rollout"
		case machine.Unschedulable:
			shown += ", cordoned"
		}
		table.Add([]string{machine.Reason}, machine.Machine, machine.Node, cmp.Or(machine.Version, "no node"), shown)
	}
	return table.String()
}
