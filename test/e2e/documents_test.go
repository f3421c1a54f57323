package e2e_test

import (
	"argosy.dev/argosy/test/site"
)

// Sections of vcluster.yaml.
const (
	joinNode     = "privateNodes.joinNode."
	registration = joinNode + "nodeRegistration."
	autoUpgrade  = "privateNodes.autoUpgrade."
)

// vcluster returns a change of keys of vcluster.yaml.
func vcluster(settings map[string]any) func(map[string]any) {
	return func(document map[string]any) {
		for key, value := range settings {
			site.Set(document, key, value)
		}
	}
}
