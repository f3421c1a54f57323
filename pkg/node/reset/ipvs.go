package reset

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ipvsFlush is the kernel's IPVS_CMD_FLUSH, in version 1 of its generic netlink family.
const (
	ipvsFamily  = "IPVS"
	ipvsVersion = 1
	ipvsFlush   = 17
)

func (linux) RemoveServices() error {
	return errors.Join(flushIPVS(), destroySets())
}

// flushIPVS removes every virtual server: where kube-proxy uses them, it has them to itself.
func flushIPVS() error {
	family, err := netlink.GenlFamilyGet(ipvsFamily)
	if err != nil {
		return fmt.Errorf("asking for virtual servers: %w", err)
	}
	request := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	request.AddData(&nl.Genlmsg{Command: ipvsFlush, Version: ipvsVersion})
	if _, err := request.Execute(unix.NETLINK_GENERIC, 0); err != nil {
		return fmt.Errorf("removing virtual servers: %w", err)
	}
	return nil
}

// destroySets removes kube-proxy's sets of addresses.
func destroySets() error {
	sets, err := netlink.IpsetListAll()
	if err != nil {
		return fmt.Errorf("listing address sets: %w", err)
	}
	var errs []error
	for _, set := range sets {
		if !strings.HasPrefix(set.SetName, "KUBE-") {
			continue
		}
		if err := netlink.IpsetDestroy(set.SetName); err != nil {
			errs = append(errs, fmt.Errorf("removing address set %q: %w", set.SetName, err))
		}
	}
	return errors.Join(errs...)
}
