package lab

import (
	"fmt"
	"net/netip"
)

// The lab's addresses. Everything lives in its own network namespace with one
// cable to this computer, so that nothing here can meet its other networks.
const (
	// RepositoryURL is where the lab serves bundles, from any machine.
	RepositoryURL = "http://10.117.0.1:8090"

	uplinkAddress     = "10.117.0.1"
	repositoryAddress = uplinkAddress + ":8090"
	memberPodSubnet   = "10.244.0.0/16"
)

// Segment is one of the lab's two networks.
type Segment struct {
	Bridge string
	Prefix netip.Prefix
	Router netip.Addr
}

// front is where all machines are; back is behind the bastion.
func front() Segment {
	return Segment{"argosy0", netip.MustParsePrefix("10.117.0.0/24"), netip.MustParseAddr("10.117.0.254")}
}

func back() Segment {
	return Segment{"argosy1", netip.MustParsePrefix("10.117.1.0/24"), netip.MustParseAddr("10.117.1.254")}
}

// Role is the purpose of a machine.
type Role string

const (
	// RoleHost carries the host cluster, where Argo runs.
	RoleHost Role = "host"
	// RoleControlPlane carries the control plane of a cluster that machines join.
	RoleControlPlane Role = "control-plane"
	// RoleBastion only passes SSH connections on.
	RoleBastion Role = "bastion"
	// RoleMember is a clean machine, to be joined.
	RoleMember Role = "member"
)

// MachineSpec is one machine of the lab.
type MachineSpec struct {
	Name    string
	Role    Role
	Address string
	// Login is the user whom the lab's key lets in.
	Login string
	// Sudo is how Login becomes root: "" (is root), "nopasswd", "password".
	Sudo string
	// Bastion is the machine to jump over, empty if it is reached directly.
	Bastion string
	// PodSubnet is the network of its CNI configuration; empty without CNI.
	PodSubnet string
	// Suite is the Debian release of a virtual machine, empty for a container.
	Suite string
	// WithoutSCP reports that the machine has neither scp nor sftp.
	WithoutSCP bool
	// Note is a remark for people.
	Note string
}

// Machines lists all containers of the lab in a fixed order.
func (l *Lab) Machines() []MachineSpec { return machines() }

// VirtualMachines lists the lab's virtual machines. They are off, and take no disk, until the first reset.
func (l *Lab) VirtualMachines() []MachineSpec { return virtualMachines() }

// virtualMachines are named after their Debian suite.
func virtualMachines() []MachineSpec {
	var found []MachineSpec
	for i, suite := range []string{"bookworm", "trixie"} {
		found = append(found, MachineSpec{
			Name: suite, Role: RoleMember, Address: fmt.Sprintf("10.117.0.%d", 111+i), Login: "root", Suite: suite,
			Note: "virtual machine",
		})
	}
	return found
}

func machines() []MachineSpec {
	return []MachineSpec{
		{
			Name: "host", Role: RoleHost, Address: "10.117.0.10", Login: "root", PodSubnet: "10.245.0.0/24",
			Note: "host cluster with Argo",
		},
		{
			Name: "team-a", Role: RoleControlPlane, Address: "10.117.0.20", Login: "root", PodSubnet: "10.244.20.0/24",
			Note: "control plane that machines join",
		},
		{Name: "bastion", Role: RoleBastion, Address: "10.117.0.5", Login: "jump", Note: "on both networks"},
		{
			Name: "m1", Role: RoleMember, Address: "10.117.0.101", Login: "root", PodSubnet: "10.244.1.0/24",
			Note: "root, host certificate",
		},
		{
			Name: "m2", Role: RoleMember, Address: "10.117.0.102", Login: "ops", Sudo: "nopasswd",
			PodSubnet: "10.244.2.0/24", Note: "sudo without password",
		},
		{
			Name: "m3", Role: RoleMember, Address: "10.117.0.103", Login: "ops", Sudo: "password",
			PodSubnet: "10.244.3.0/24", Note: "sudo with password",
		},
		{
			Name: "m4", Role: RoleMember, Address: "10.117.1.104", Login: "root", Bastion: "bastion",
			PodSubnet: "10.244.4.0/24", Note: "only through the bastion",
		},
		{
			Name: "m5", Role: RoleMember, Address: "10.117.0.105", Login: "root", PodSubnet: "10.244.5.0/24",
			WithoutSCP: true, Note: "no scp, no sftp",
		},
	}
}

// bastionBackAddress is the bastion's second leg.
const bastionBackAddress = "10.117.1.5"

// Spec returns the machine called name, as it was reset last.
func (l *Lab) Spec(name string) (MachineSpec, error) {
	all := append(machines(), virtualMachines()...)
	for _, m := range all {
		if m.Name == name {
			return l.asReset(m), nil
		}
	}
	return MachineSpec{}, fmt.Errorf("looking for machine %q: the lab has %s", name, quoteArgv(names(all)))
}

// Members lists the containers that tests join.
func (l *Lab) Members() []MachineSpec { return withRole(RoleMember) }

// asReset takes the pod network from a machine that was reset without one.
func (l *Lab) asReset(m MachineSpec) MachineSpec {
	if m.Role == RoleMember && exists(l.disk(m).bareMark()) {
		m.PodSubnet = ""
	}
	return m
}

func withRole(role Role) []MachineSpec {
	var found []MachineSpec
	for _, m := range machines() {
		if m.Role == role {
			found = append(found, m)
		}
	}
	return found
}

func names(list []MachineSpec) []string {
	out := make([]string, len(list))
	for i, m := range list {
		out[i] = m.Name
	}
	return out
}

func (m MachineSpec) segment() Segment {
	if back().Prefix.Contains(netip.MustParseAddr(m.Address)) {
		return back()
	}
	return front()
}

// namespace is the name of the machine's network namespace on this computer. A virtual machine has its network inside;
// the nearest to it is the lab's switch.
func (m MachineSpec) namespace() string {
	if m.Suite != "" {
		return routerNamespace
	}
	return "argosy-" + m.Name
}

// hasCluster reports whether the lab runs a control plane on the machine.
func (m MachineSpec) hasCluster() bool { return m.Role == RoleHost || m.Role == RoleControlPlane }
