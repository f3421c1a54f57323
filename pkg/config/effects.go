package config

import (
	"reflect"
	"regexp"
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

// Place is where a setting takes effect.
type Place string

// The places.
const (
	AtMachine      Place = "machine"
	AtControlPlane Place = "control plane"
	AtCluster      Place = "cluster"
	AtPlugin       Place = "plugin"
)

// KeyEffect says of one key where it takes effect and what a change of it needs.
type KeyEffect struct {
	// Document is "vcluster.yaml" or "argosy.yaml".
	Document string
	// Key with "[]" for an item of a list and "<name>" for a name that the user chooses: "machines[].ssh.port".
	Key string
	// At is empty where a key has no effect.
	At     Place
	Effect Effect
}

// Effects are those of every key of both documents that holds a value, vcluster.yaml first, in the order of the types.
// They stand as tags on the types; a key without one has that of the section around it. A key that can only say what is
// so anyway, because anything else is refused, has none.
func Effects() []KeyEffect {
	var effects []KeyEffect
	for _, document := range []string{VClusterDocument, FleetDocument} {
		for _, k := range walk(document) {
			if !k.section {
				effects = append(effects, KeyEffect{document, k.path, k.at, k.effect})
			}
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

// key is one key of a document on the way through its types.
type key struct {
	path    string
	section bool
	// owner and field say whose comment describes it.
	owner    reflect.Type
	field    reflect.StructField
	defaults reflect.Value
	at       Place
	effect   Effect
	// refusals leave only what is so anyway; inner do the same with something that is not a key of its own.
	refusals, inner []refusal
}

// walk lists the keys of a document, each section before what is in it.
func walk(document string) []key {
	defaults := reflect.ValueOf(defaultVCluster())
	var refused []refusal
	if document == FleetDocument {
		defaults = reflect.ValueOf(defaultFleet())
	} else {
		refused = append(unsupported(), notProvisioned()...)
	}
	var keys []key
	walkStruct(key{}, documentType(document), defaults, refused, &keys)
	return keys
}

func walkStruct(above key, t reflect.Type, defaults reflect.Value, refused []refusal, keys *[]key) {
	for i := range t.NumField() {
		field := t.Field(i)
		name := keyOf(field)
		if name == "" {
			continue
		}
		k := key{path: join(above.path, name), owner: t, field: field, at: above.at, effect: above.effect,
			refusals: above.refusals}
		if defaults.IsValid() {
			k.defaults = defaults.Field(i)
		}
		k.tagged(field, refused)
		inner, suffix, section := contentOf(field)
		k.path, k.section = k.path+suffix, section
		*keys = append(*keys, k)
		if section {
			value := k.defaults
			if suffix != "" {
				value = reflect.Value{}
			}
			walkStruct(k, inner, value, refused, keys)
		}
	}
}

// tagged takes over what a field's tags say, and then what is refused there, which leaves no effect.
func (k *key) tagged(field reflect.StructField, refused []refusal) {
	if at := field.Tag.Get("at"); at != "" {
		k.at = Place(at)
	}
	if effect := field.Tag.Get("effect"); effect != "" {
		k.effect, k.refusals = Effect(effect), nil
	}
	for _, r := range refused {
		switch {
		case r.path == k.path:
			k.effect, k.refusals = NoEffect, append(k.refusals[:len(k.refusals):len(k.refusals)], r)
		case isBelow(r.path, k.path):
			k.inner = append(k.inner, r)
		}
	}
	if k.effect == NoEffect {
		k.at = ""
	}
}

// contentOf says whether a field is a section, of which type, and how its path goes on: "[]" for a list, "<name>" for a
// mapping by names that the user chooses.
func contentOf(field reflect.StructField) (inner reflect.Type, suffix string, section bool) {
	inner = field.Type
	for {
		switch {
		case inner == secretType || inner == durationType:
			return inner, "", false
		case inner.Kind() == reflect.Pointer:
			inner = inner.Elem()
		case inner.Kind() == reflect.Slice && element(inner.Elem()).Kind() == reflect.Struct:
			inner, suffix = inner.Elem(), suffix+"[]"
		case inner.Kind() == reflect.Map && inner.Elem().Kind() == reflect.Struct:
			name := field.Tag.Get("names")
			if name == "" {
				name = "name"
			}
			inner, suffix = inner.Elem(), suffix+".<"+name+">"
		default:
			return inner, suffix, inner.Kind() == reflect.Struct
		}
	}
}
