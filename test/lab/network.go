package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// routerNamespace holds both bridges and everything that filters between
	// them, so that taking the lab's network away is deleting one namespace.
	routerNamespace = "argosy-router"
	uplink          = "argosy-uplink"
)

// makeNetwork makes the bridges and the cable to this computer, in place of
// whatever is left of them.
func (l *Lab) makeNetwork(ctx context.Context) error {
	if err := l.removeNetwork(ctx); err != nil {
		return err
	}
	if _, err := run(ctx, "ip", "netns", "add", routerNamespace); err != nil {
		return fmt.Errorf("making namespace %q: %w", routerNamespace, err)
	}
	if err := ipBatch(ctx, routerNamespace, routerLinks()...); err != nil {
		return fmt.Errorf("making the lab's bridges: %w", err)
	}
	if err := routerFilter(ctx); err != nil {
		return err
	}
	// The cable comes last: networkStands looks for it.
	if err := ipBatch(ctx, "", uplinkLinks()...); err != nil {
		return fmt.Errorf("making the cable to the lab: %w", err)
	}
	if err := ipBatch(ctx, routerNamespace, "link set uplink master "+front().Bridge+" up"); err != nil {
		return fmt.Errorf("connecting the cable to the lab: %w", err)
	}
	return nil
}

func networkStands(ctx context.Context) bool {
	if _, err := os.Stat(filepath.Join("/run/netns", routerNamespace)); err != nil {
		return false
	}
	out, err := run(ctx, "ip", "-brief", "address", "show", "dev", uplink)
	return err == nil && strings.Contains(out, uplinkAddress) && strings.Contains(out, "UP")
}

// removeNetwork deletes the router and every machine's namespace.
func (l *Lab) removeNetwork(ctx context.Context) error {
	spaces := []string{routerNamespace}
	for _, m := range machines() {
		spaces = append(spaces, m.namespace())
	}
	var problems []error
	if _, err := os.Stat(filepath.Join("/sys/class/net", uplink)); err == nil {
		_, err := run(ctx, "ip", "link", "delete", uplink)
		problems = append(problems, err)
	}
	for _, space := range spaces {
		problems = append(problems, removeNamespace(ctx, space))
	}
	return errors.Join(problems...)
}

func removeNamespace(ctx context.Context, name string) error {
	if _, err := os.Stat(filepath.Join("/run/netns", name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := run(ctx, "ip", "netns", "delete", name); err != nil {
		return fmt.Errorf("deleting namespace %q: %w", name, err)
	}
	return nil
}

func routerLinks() []string {
	lines := []string{"link set lo up"}
	for _, s := range []Segment{front(), back()} {
		lines = append(lines,
			"link add "+s.Bridge+" type bridge forward_delay 0",
			fmt.Sprintf("address add %s/%d dev %s", s.Router, s.Prefix.Bits(), s.Bridge),
			"link set "+s.Bridge+" up")
	}
	// The router knows where each machine's pods are, for the other segment.
	for _, m := range machines() {
		if m.PodSubnet != "" {
			lines = append(lines, fmt.Sprintf("route add %s via %s", m.PodSubnet, m.Address))
		}
	}
	return lines
}

func uplinkLinks() []string {
	return []string{
		"link add " + uplink + " type veth peer name uplink netns " + routerNamespace,
		fmt.Sprintf("address add %s/%d dev %s", uplinkAddress, front().Prefix.Bits(), uplink),
		"link set " + uplink + " up",
		fmt.Sprintf("route add %s via %s", back().Prefix, front().Router),
	}
}

// routerFilter lets the back segment out, and into it only the traffic of a cluster: the API server and pods, and from
// the other machines anything but SSH. So a machine there can be joined through the bastion and in no other way.
func routerFilter(ctx context.Context) error {
	in, out := front(), back()
	forward := [][]string{
		{"-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"},
		{"-i", out.Bridge, "-o", in.Bridge, "-j", "ACCEPT"},
		{"-i", in.Bridge, "-o", out.Bridge, "-p", "tcp", "--dport", "22", "-j", "DROP"},
		{"-i", in.Bridge, "-o", out.Bridge, "-s", memberPodSubnet, "-j", "ACCEPT"},
	}
	for _, m := range machines() {
		if m.segment().Bridge == in.Bridge && (m.Role == RoleMember || m.Role == RoleControlPlane) {
			forward = append(forward, []string{"-i", in.Bridge, "-o", out.Bridge, "-s", m.Address, "-j", "ACCEPT"})
		}
	}
	lines := []string{"*filter", ":FORWARD DROP [0:0]"}
	for _, rule := range forward {
		lines = append(lines, "-A FORWARD "+strings.Join(rule, " "))
	}
	lines = append(lines, "COMMIT", "")
	// Frames within one segment are bridged, not routed: iptables must not see them.
	if _, err := inNamespace(ctx, routerNamespace, "sysctl", "--quiet", "--write",
		"net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=0"); err != nil {
		return fmt.Errorf("making the router forward: %w", err)
	}
	restore := []string{"ip", "netns", "exec", routerNamespace, "iptables-restore"}
	if _, err := runInput(ctx, strings.NewReader(strings.Join(lines, "\n")), restore...); err != nil {
		return fmt.Errorf("filtering between the segments: %w", err)
	}
	return nil
}

// connect gives a machine a fresh network namespace with its address and routes.
func connect(ctx context.Context, m MachineSpec) error {
	if _, err := run(ctx, "ip", "-n", routerNamespace, "link", "show", "dev", m.Name); err == nil {
		if err := ipBatch(ctx, routerNamespace, "link delete "+m.Name); err != nil {
			return fmt.Errorf("unplugging machine %q: %w", m.Name, err)
		}
	}
	if m.Role == RoleBastion {
		_, _ = run(ctx, "ip", "-n", routerNamespace, "link", "delete", m.Name+"-b")
	}
	if err := removeNamespace(ctx, m.namespace()); err != nil {
		return err
	}
	if _, err := run(ctx, "ip", "netns", "add", m.namespace()); err != nil {
		return fmt.Errorf("making namespace %q: %w", m.namespace(), err)
	}
	plugs := []string{
		plug(m.Name, "eth0", m.namespace(), m.Address),
		fmt.Sprintf("link set %s master %s up", m.Name, m.segment().Bridge),
	}
	if m.Role == RoleBastion {
		plugs = append(plugs, plug(m.Name+"-b", "eth1", m.namespace(), bastionBackAddress),
			fmt.Sprintf("link set %s-b master %s up", m.Name, back().Bridge))
	}
	if err := ipBatch(ctx, routerNamespace, plugs...); err != nil {
		return fmt.Errorf("plugging machine %q in: %w", m.Name, err)
	}
	if err := ipBatch(ctx, m.namespace(), machineLinks(m)...); err != nil {
		return fmt.Errorf("giving machine %q its address: %w", m.Name, err)
	}
	return nil
}

// plug makes the cable between a switch port and a machine's device.
func plug(port, device, namespace, address string) string {
	return fmt.Sprintf("link add %s type veth peer name %s address %s netns %s",
		port, device, hardwareAddress(address), namespace)
}

// machineLinks is the network that a site's image would configure at boot.
func machineLinks(m MachineSpec) []string {
	segment := m.segment()
	lines := []string{
		"link set lo up",
		fmt.Sprintf("address add %s/%d dev eth0", m.Address, segment.Prefix.Bits()),
		"link set eth0 up",
		fmt.Sprintf("route add default via %s", segment.Router),
	}
	if m.Role == RoleBastion {
		lines = append(lines, fmt.Sprintf("address add %s/%d dev eth1", bastionBackAddress, back().Prefix.Bits()),
			"link set eth1 up")
	}
	for _, other := range machines() {
		if m.PodSubnet != "" && other.PodSubnet != "" && other.Name != m.Name && other.segment() == segment {
			lines = append(lines, fmt.Sprintf("route add %s via %s", other.PodSubnet, other.Address))
		}
	}
	return lines
}

// setPort cuts a machine off (every frame is dropped, the link stays up) or
// connects it again.
func setPort(ctx context.Context, m MachineSpec, open bool) error {
	state := "0"
	if open {
		state = "3"
	}
	if _, err := run(ctx, "bridge", "-n", routerNamespace, "link", "set", "dev", m.Name, "state", state); err != nil {
		return fmt.Errorf("setting the switch port of machine %q: %w", m.Name, err)
	}
	return nil
}

// ipBatch runs lines of ip(8) in a namespace, or in this computer's own.
func ipBatch(ctx context.Context, namespace string, lines ...string) error {
	argv := []string{"ip"}
	if namespace != "" {
		argv = append(argv, "-n", namespace)
	}
	argv = append(argv, "-batch", "-")
	_, err := runInput(ctx, strings.NewReader(strings.Join(lines, "\n")+"\n"), argv...)
	return err
}

func inNamespace(ctx context.Context, namespace string, argv ...string) (string, error) {
	return run(ctx, append([]string{"ip", "netns", "exec", namespace}, argv...)...)
}
