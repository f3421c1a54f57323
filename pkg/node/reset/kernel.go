package reset

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernel has the calls that phases make to the kernel itself, since a machine need not have programs for them.
type kernel interface {
	// Unmount unmounts path, also when it is in use or its server does not answer.
	Unmount(path string) error
	// MakePrivate makes the mount on path, and all beneath it, private, so that unmounting it has no effect elsewhere.
	MakePrivate(path string) error
	// Kill ends a process at once.
	Kill(pid int) error
	// Links returns the network links.
	Links() ([]link, error)
	// RemoveLink removes a network link, if it exists.
	RemoveLink(name string) error
	// Rules returns chains and tables of nf_tables that belong to the node and its pods: "ip nat KUBE-SERVICES".
	Rules(networks *podNetworks) ([]string, error)
	// RemoveRules removes these, and the rules that jump to them.
	RemoveRules(networks *podNetworks) error
	// RemoveServices removes the virtual servers and address sets of kube-proxy's mode ipvs.
	RemoveServices() error
}

// link is a network link.
type link struct {
	// Name is the kernel's name: "cni0".
	Name string
	// Type is the kernel's word for it: "bridge", "veth", "vxlan".
	Type string
	// Master is the name of the link that it is a port of; "" for none.
	Master string
}

// linux is the kernel of the machine that this program runs on.
type linux struct{}

var _ kernel = linux{}

func (linux) Unmount(path string) error {
	return unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) //nolint:wrapcheck // Its callers name the path.
}

func (linux) MakePrivate(path string) error {
	return unix.Mount("", path, "", unix.MS_REC|unix.MS_PRIVATE, "") //nolint:wrapcheck // Its caller names the path.
}

func (linux) Kill(pid int) error {
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing process %d: %w", pid, err)
	}
	return nil
}

func (linux) Links() ([]link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing network links: %w", err)
	}
	names := make(map[int]string, len(all))
	for _, one := range all {
		names[one.Attrs().Index] = one.Attrs().Name
	}
	links := make([]link, 0, len(all))
	for _, one := range all {
		links = append(links, link{Name: one.Attrs().Name, Type: one.Type(), Master: names[one.Attrs().MasterIndex]})
	}
	return links, nil
}

func (linux) RemoveLink(name string) error {
	one, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(one)
	}
	if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("removing network link %q: %w", name, err)
	}
	return nil
}
