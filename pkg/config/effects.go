package config

import (
	"regexp"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/spec"
)

// Effect is what a change of a setting needs. Settings of a machine have the effects of package spec: none, "restarts
// kubelet", "restarts containerd", "needs a rejoin".
type Effect = spec.Effect

// The effects of settings that no machine has.
const (
	// NextWorkflow: it holds from the next workflow on, and nothing that runs is touched.
	NextWorkflow Effect = "with the next workflow"
	// ReplacesPods: the next provision run replaces the control plane's pods, one by one.
	ReplacesPods Effect = "replaces the control plane's pods"
	// AppliesToAddon: the next provision run sets the addon's objects, and Kubernetes rolls its pods.
	AppliesToAddon Effect = "applies to the addon"
	// NeverChanges: it stays what it was at the first run; a change is refused.
	NeverChanges Effect = "never changes"
	// NoEffect: it is accepted as far as it says what is so anyway, and nothing comes of it.
	NoEffect Effect = "no effect"
)

// Location is where a setting takes effect.
type Location string

// The locations.
const (
	AtMachine      Location = "machine"
	AtControlPlane Location = "control plane"
	AtCluster      Location = "cluster"
	AtPlugin       Location = "plugin"
)

// KeyEffect is where one key takes effect and what a change of it needs.
type KeyEffect struct {
	// Document is "vcluster.yaml" or "argosy.yaml".
	Document string
	// Key with "[]" for an item of a list and "<name>" for a name that the user chooses: "machines[].ssh.port".
	Key string
	// At is empty where a key has no effect.
	At     Location
	Effect Effect
}

// Effects lists every key of both documents that holds a value, vcluster.yaml first, in the order of the types. Keys of
// which all but the value that holds anyway is refused have NoEffect.
func Effects() []KeyEffect {
	var effects []KeyEffect
	for _, k := range allKeys() {
		if !k.Section {
			effects = append(effects, k.KeyEffect)
		}
	}
	return effects
}

// EffectOf returns what a change of a key needs that stands in a document, as Problem names it
// ("machines[2].ssh.port"), or of anything below a key whose content is free ("privateNodes.kubelet.config.maxPods").
// It is false for a key that the document does not have, and for a section, whose keys differ.
func EffectOf(document, key string) (KeyEffect, bool) {
	for _, s := range spellings() {
		if key == s.newer {
			key = s.older
		}
	}
	wanted := steps(key)
	for _, e := range Effects() {
		if e.Document == document && stepsMatch(steps(e.Key), wanted) {
			return e, true
		}
	}
	return KeyEffect{}, false
}

// step is one part of a path: a plain word, a name in brackets and quotes, or an index.
var step = regexp.MustCompile(`\["(?:[^"\\]|\\.)*"\]|\[\d*\]|<[^>]*>|[^.\[\]<>]+`)

func steps(path string) []string { return step.FindAllString(path, -1) }

// stepsMatch says whether a path of the schema is that of a document's key, or of a section above it whose content is
// free.
func stepsMatch(schema, written []string) bool {
	if len(written) < len(schema) {
		return false
	}
	for i, s := range schema {
		isItem := strings.HasPrefix(written[i], "[") && !strings.HasPrefix(written[i], `["`)
		switch {
		case s == written[i]:
		case s == "[]" && isItem:
		case strings.HasPrefix(s, "<") && !isItem:
		default:
			return false
		}
	}
	return true
}

// allKeys of both documents, sections included.
func allKeys() []Key { return slices.Concat(Keys(VClusterDocument), Keys(FleetDocument)) }

// EffectMeaning explains an effect to those who see it for the first time.
func EffectMeaning(effect Effect) string {
	for _, e := range effectsInOrder() {
		if e.effect == effect {
			return e.means
		}
	}
	return ""
}

// effectMeaning is an effect with what it says to those who see it for the first time.
type effectMeaning struct {
	effect Effect
	means  string
}

// effectsInOrder are all effects, the heaviest first.
func effectsInOrder() []effectMeaning {
	return []effectMeaning{
		{NeverChanges, "a change is refused"},
		{"needs a rejoin", "holds for machines that join from then on; reset a joined machine and join it again"},
		{"restarts containerd", "on joined machines when they are reconciled; pods run on"},
		{"restarts kubelet", "on joined machines when they are reconciled; pods run on"},
		{ReplacesPods, "by the next provision workflow, one pod after another"},
		{AppliesToAddon, "by the next provision workflow; Kubernetes rolls the addon's pods"},
		{"none", "is put right while everything runs on"},
		{NextWorkflow, "holds from then on, and nothing that runs is touched"},
		{NoEffect, "is accepted as far as it says what is so anyway"},
	}
}
