package reset

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RemoveServices removes the virtual servers and address sets of kube-proxy. Others, as keepalived's, stay.
func (linux) RemoveServices() error {
	sets, err := netlink.IpsetListAll()
	if err != nil {
		return fmt.Errorf("listing the sets of ipset: %w", err)
	}
	if err := removeServers(sets); err != nil {
		return err
	}
	return destroySets(sets)
}

// removeServers removes the virtual servers that are kube-proxy's.
func removeServers(sets []netlink.IPSetResult) error {
	addresses, err := serviceAddresses()
	if err != nil {
		return err
	}
	handle, err := ipvs.New("")
	if err != nil {
		return fmt.Errorf("connecting to IPVS: %w", err)
	}
	defer handle.Close()
	servers, err := handle.GetServices()
	if err != nil {
		return fmt.Errorf("listing the virtual servers of IPVS: %w", err)
	}
	for _, server := range ofKubeProxy(servers, addresses, nodePorts(sets)) {
		if err := handle.DelService(server); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing virtual server \"%s:%d\" of IPVS: %w", server.Address, server.Port, err)
		}
	}
	return nil
}

// serviceAddresses returns the addresses of Services, which kube-proxy gives to a link of its own.
func serviceAddresses() ([]net.IP, error) {
	link, err := netlink.LinkByName(servicesLink)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	var all []netlink.Addr
	if err == nil {
		all, err = netlink.AddrList(link, netlink.FAMILY_ALL)
	}
	if err != nil {
		return nil, fmt.Errorf("listing the addresses of Services: %w", err)
	}
	var addresses []net.IP
	for _, address := range all {
		addresses = append(addresses, address.IP)
	}
	return addresses, nil
}

// port is one of a transport protocol, by its number.
type port struct {
	protocol uint16
	number   uint16
}

// nodePorts returns the ports of Services at the machine's own addresses, which kube-proxy keeps in sets.
func nodePorts(sets []netlink.IPSetResult) map[port]bool {
	ports := map[port]bool{}
	for _, set := range sets {
		for name, protocol := range map[string]uint16{
			"KUBE-NODE-PORT-TCP": unix.IPPROTO_TCP, "KUBE-NODE-PORT-UDP": unix.IPPROTO_UDP,
			"KUBE-NODE-PORT-SCTP-HASH": unix.IPPROTO_SCTP,
		} {
			for _, entry := range set.Entries {
				if set.SetName == name && entry.Port != nil {
					ports[port{protocol, *entry.Port}] = true
				}
			}
		}
	}
	return ports
}

// ofKubeProxy returns the virtual servers at the address of a Service, or at one of its node ports. One that balances
// by a mark of the packet filter is never kube-proxy's.
func ofKubeProxy(servers []*ipvs.Service, addresses []net.IP, ports map[port]bool) []*ipvs.Service {
	var found []*ipvs.Service
	for _, server := range servers {
		is := server.FWMark == 0 && ports[port{server.Protocol, server.Port}]
		for _, address := range addresses {
			is = is || server.FWMark == 0 && address.Equal(server.Address)
		}
		if is {
			found = append(found, server)
		}
	}
	return found
}

// destroySets removes kube-proxy's sets of addresses.
func destroySets(sets []netlink.IPSetResult) error {
	var errs []error
	for _, set := range sets {
		if !strings.HasPrefix(set.SetName, "KUBE-") {
			continue
		}
		if err := netlink.IpsetDestroy(set.SetName); err != nil {
			errs = append(errs, fmt.Errorf("removing set %q of ipset: %w", set.SetName, err))
		}
	}
	return errors.Join(errs...)
}
