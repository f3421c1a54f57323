// Package images imports images into a machine's container runtime: from archives on the machine, and from those that
// the plugin sends meanwhile. It stores no archive itself, and imports no image of one that is damaged or has another
// digest. It knows neither registries nor logins.
package images

import "argosy.dev/argosy/pkg/node"

// Phases returns the phases of an import on a machine that is a node already. A join uses the second of them.
func Phases() []node.Phase {
	return []node.Phase{
		{Name: "preflight", Short: "checking whose node the machine is", Check: checkPreflight, Apply: applyPreflight},
		{Name: "images", Short: "importing images", Check: checkImages, Apply: applyImages},
	}
}
