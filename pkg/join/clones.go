package join

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"argosy.dev/argosy/pkg/node/spec"
)

// identities are those of the machines of one plan, to find clones. The zero value is empty; it is safe for use by
// many goroutines.
type identities struct {
	mu sync.Mutex
	// machines by kind of identity and its value.
	machines map[identity][]string
}

// identity is a value that should be a machine's own.
type identity struct{ kind, value string }

// The kinds, and the way to a new value of each.
const (
	machineID   = "machine-id"
	macAddress  = "MAC address"
	productUUID = "product UUID"
)

var renewals = map[string]string{
	machineID:   "empty /etc/machine-id and run systemd-machine-id-setup: flannel's link takes its MAC address from it",
	macAddress:  "give each its own where both are in one network",
	productUUID: "have the hypervisor give each its own, or ignore it for machines that are containers of one computer",
}

func (i *identities) add(machine string, facts spec.Facts) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.machines == nil {
		i.machines = map[identity][]string{}
	}
	found := []identity{{machineID, facts.MachineID}, {productUUID, facts.ProductUUID}}
	for _, one := range facts.Interfaces {
		found = append(found, identity{macAddress, one.MAC})
	}
	for _, one := range found {
		// Two interfaces of a machine, as in a bond, may have one address.
		if one.value != "" && !slices.Contains(i.machines[one], machine) {
			i.machines[one] = append(i.machines[one], machine)
		}
	}
}

// remarks names the other machines of the plan that have an identity of the machine's.
func (i *identities) remarks(machine string) []string {
	var remarks []string
	for one, machines := range i.machines {
		if !slices.Contains(machines, machine) || len(machines) == 1 {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(machines), func(other string) bool { return other == machine })
		slices.Sort(others)
		remarks = append(remarks, fmt.Sprintf("It has the %s %s, as %s has; %s.", one.kind, one.value,
			strings.Join(others, " and "), renewals[one.kind]))
	}
	slices.Sort(remarks)
	return remarks
}
