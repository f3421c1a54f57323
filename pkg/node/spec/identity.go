package spec

import (
	"fmt"
	"slices"
	"strings"
)

// MachineIdentity has the properties that tell machines apart, of a machine itself or of a node's machine.
type MachineIdentity struct {
	// ID is the content of /etc/machine-id; "" when it is not known.
	ID string
	// Addresses are IP addresses; none when they are not known.
	Addresses []string
}

// DifferencesFrom returns the differences of a node's machine from another machine, in words. Their addresses differ
// if they have none in common. compared is false if there is nothing to compare, as with a node whose kubelet never
// reported.
func (i MachineIdentity) DifferencesFrom(other MachineIdentity) (differences []string, compared bool) {
	if i.ID != "" && other.ID != "" {
		compared = true
		if i.ID != other.ID {
			differences = append(differences, fmt.Sprintf("its machine-id is %s, not %s", i.ID, other.ID))
		}
	}
	if len(i.Addresses) > 0 && len(other.Addresses) > 0 {
		compared = true
		shared := func(address string) bool { return slices.Contains(other.Addresses, address) }
		if !slices.ContainsFunc(i.Addresses, shared) {
			differences = append(differences, "its address is "+strings.Join(i.Addresses, " and "))
		}
	}
	return differences, compared
}
