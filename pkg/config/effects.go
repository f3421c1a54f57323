package config

import (
	"regexp"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node/spec"
)

// Effect is the consequence of changing a setting. Settings of a machine have the effects of package spec: none,
// "restarts kubelet", "restarts containerd", "needs a rejoin".
type Effect = spec.Effect

// The effects of settings that no machine has.
const (
	// NextWorkflow is a change that holds from the next workflow on; nothing that runs is touched.
	NextWorkflow Effect = "with the next workflow"
	// ReplacesPods is a change for which the next provision run replaces the control plane's pods, one by one.
	ReplacesPods Effect = "replaces the control plane's pods"
	// AppliesToAddon is a change for which the next provision run sets the addon's objects; Kubernetes rolls its pods.
	AppliesToAddon Effect = "applies to the addon"
	// NeverChanges is a change that is refused: the value of the first run stays.
	NeverChanges Effect = "never changes"
	// NoEffect is for settings whose only accepted values are those that hold anyway.
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

// KeyEffect is where one key takes effect, and the effect of changing it.
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

// EffectOf returns the effect of a key as Problem names it ("machines[2].ssh.port"), or of a key inside an unstructured
// section ("privateNodes.kubelet.config.maxPods"). It returns false for a key that the document does not have, and for
// a section, whose keys differ.
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

// stepsMatch reports whether a path of the schema is that of a document's key, or of an unstructured section above it.
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

// allKeys returns the keys of both documents, sections included.
func allKeys() []Key { return slices.Concat(Keys(VClusterDocument), Keys(FleetDocument)) }

// EffectMeaning returns a sentence that explains an effect.
func EffectMeaning(effect Effect) string {
	for _, e := range effectsInOrder() {
		if e.effect == effect {
			return e.means
		}
	}
	return ""
}

// effectMeaning is an effect with a sentence that explains it.
type effectMeaning struct {
	effect Effect
	means  string
}

// effectsInOrder returns all effects, the heaviest first.
func effectsInOrder() []effectMeaning {
	return []effectMeaning{
		{NeverChanges, "a change is refused"},
		{"needs a rejoin", "holds for machines that join from then on; reset a joined machine and join it again"},
		{"restarts containerd", "on joined machines when they are reconciled; pods run on"},
		{"restarts kubelet", "on joined machines when they are reconciled; pods run on"},
		{ReplacesPods, "by the next provision workflow, one pod after another"},
		{AppliesToAddon, "by the next provision workflow; Kubernetes rolls the addon's pods"},
		{"none", "is applied while everything runs on"},
		{NextWorkflow, "holds from then on, and nothing that runs is touched"},
		{NoEffect, "only the value that holds anyway is accepted"},
	}
}
