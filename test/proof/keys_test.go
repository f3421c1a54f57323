package proof

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/config"
)

// A proof walks these lists; a key that the documents do not have, or a key twice, would make it prove nothing.
func TestEveryKeyOfTheSpecificationIsKnown(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range slices.Concat(specificationKeys(), newerKeys()) {
		assert.Check(t, !seen[key], "%s is there twice", key)
		seen[key] = true
		e, found := config.EffectOf(config.VClusterDocument, key)
		assert.Check(t, found, "%s is no key of vcluster.yaml", key)
		// A key in a section whose content is free is found by that section.
		assert.Check(t, e.Key == key || strings.HasPrefix(key, e.Key+"."), "%s is found as %s", key, e.Key)
	}
}

// Every key of private nodes here is one of the specification or of a later version, except the older names of
// another.
func TestEveryKeyOfPrivateNodesIsListed(t *testing.T) {
	listed := slices.Concat(specificationKeys(), newerKeys())
	older := regexp.MustCompile(`^privateNodes\.(cni|kubeProxy|localPathProvisioner)\.`)
	for _, e := range config.Effects() {
		if e.Document == config.VClusterDocument && strings.HasPrefix(e.Key, "privateNodes.") &&
			!older.MatchString(e.Key) {
			assert.Check(t, slices.Contains(listed, e.Key), e.Key)
		}
	}
}

// The list holds every line of the block of unsupported options.
func TestTheUnsupportedBlockIsListed(t *testing.T) {
	text, err := os.ReadFile("../../pkg/config/testdata/specification-unsupported.yaml")
	assert.NilError(t, err)
	var block map[string]any
	assert.NilError(t, yaml.Unmarshal(text, &block))
	var walk func(path string, value any)
	walk = func(path string, value any) {
		section, isSection := value.(map[string]any)
		if !isSection {
			assert.Check(t, slices.Contains(specificationKeys(), path), path)
		}
		for name, inner := range section {
			walk(strings.TrimPrefix(path+"."+name, "."), inner)
		}
	}
	walk("", block)
}
