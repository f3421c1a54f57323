// Package images brings images into a machine's container runtime: from archives that are on the machine, and from
// those that the plugin sends while it waits. Nothing of an archive is stored but what the runtime stores, and no image
// of one that is not whole, or not what it should be, comes into being. It knows neither registries nor logins.
package images

import "argosy.dev/argosy/pkg/node"

// Phases are what an import into a machine that is a node already consists of. A join has the second of them among its
// own.
func Phases() []node.Phase {
	return []node.Phase{
		{Name: "preflight", Short: "checking whose node the machine is", Check: checkPreflight, Apply: applyPreflight},
		{Name: "images", Short: "importing images", Check: checkImages, Apply: applyImages},
	}
}
