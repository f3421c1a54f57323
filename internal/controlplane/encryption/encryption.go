// Package encryption plans how a cluster's resources are encrypted in its store, one safe step after the other. It
// reads and writes Kubernetes' EncryptionConfiguration and never talks to a cluster: giving it to the API servers and
// writing objects again is its callers' part.
package encryption

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/pkg/errclass"
)

// File is the name of the EncryptionConfiguration in Secret <cluster>-pki, in pods and in archives.
const File = "encryption.yaml"

const (
	apiVersion = "apiserver.config.k8s.io/v1"
	kind       = "EncryptionConfiguration"
	keyBytes   = 32
)

// Identity is the provider that does not encrypt.
const Identity = "identity"

// Wanted is how resources are to be encrypted, as section controlPlane.encryption of argosy.yaml has it.
type Wanted struct {
	// Provider is Kubernetes' name of it; "" and Identity do not encrypt.
	Provider string
	// KeyName is the name of the key that encrypts.
	KeyName string
	// Resources that are encrypted.
	Resources []string
}

func (w Wanted) enabled() bool { return w.Provider != "" && w.Provider != Identity }

// Key is a way to read or write a resource: a key of a provider, or no encryption.
type Key struct {
	Provider string
	// Name and Secret, in base64, are empty for Identity.
	Name, Secret string
}

var plain = Key{Provider: Identity}

func (k Key) is(other Key) bool { return k.Provider == other.Provider && k.Name == other.Name }

// String returns provider and name; a key's secret is never printed.
func (k Key) String() string {
	if k.Name == "" {
		return k.Provider
	}
	return k.Provider + ":" + k.Name
}

// GoString is as String.
func (k Key) GoString() string { return k.String() }

// Config holds for each resource its keys: the first writes, and all read. A resource that it lacks is not encrypted.
type Config map[string][]Key

// The wire format, as far as Argosy writes it.
type (
	configuration struct {
		APIVersion string      `json:"apiVersion"`
		Kind       string      `json:"kind"`
		Resources  []resources `json:"resources"`
	}
	resources struct {
		Resources []string              `json:"resources"`
		Providers []map[string]provider `json:"providers"`
	}
	provider struct {
		Keys []named `json:"keys,omitempty"`
	}
	named struct {
		Name   string `json:"name"`
		Secret string `json:"secret"`
	}
)

// Parse reads an EncryptionConfiguration that Text wrote; an empty text is an empty Config.
func Parse(text []byte) (Config, error) {
	read := Config{}
	if len(text) == 0 {
		return read, nil
	}
	var wire configuration
	if err := yaml.UnmarshalStrict(text, &wire); err != nil {
		// The parser's message could show a key.
		return nil, errclass.Errorf(errclass.Permanent, "reading %q: it is no %s of Argosy's", File, kind)
	}
	for _, entry := range wire.Resources {
		var keys []Key
		for _, one := range entry.Providers {
			for name, settings := range one {
				if len(settings.Keys) == 0 {
					keys = append(keys, Key{Provider: name})
				}
				for _, key := range settings.Keys {
					keys = append(keys, Key{name, key.Name, key.Secret})
				}
			}
		}
		for _, resource := range entry.Resources {
			read[resource] = keys
		}
	}
	return read, nil
}

// Text returns the configuration for API servers; nil of an empty Config. Each resource and each key has an entry of
// its own, so that any order can be written.
func (c Config) Text() ([]byte, error) {
	if len(c) == 0 {
		return nil, nil
	}
	wire := configuration{APIVersion: apiVersion, Kind: kind}
	for _, resource := range slices.Sorted(maps.Keys(c)) {
		entry := resources{Resources: []string{resource}}
		for _, key := range c[resource] {
			settings := provider{}
			if key.Provider != Identity {
				settings.Keys = []named{{key.Name, key.Secret}}
			}
			entry.Providers = append(entry.Providers, map[string]provider{key.Provider: settings})
		}
		wire.Resources = append(wire.Resources, entry)
	}
	text, err := yaml.Marshal(wire)
	if err != nil {
		return nil, fmt.Errorf("encoding %q: %w", File, err)
	}
	return text, nil
}

// Encrypts reports whether an object may be encrypted in the store.
func (c Config) Encrypts() bool { return len(c) > 0 }

// Initial returns the configuration of a new cluster, whose store is empty.
func Initial(wanted Wanted) (Config, error) {
	made := Config{}
	if !wanted.enabled() {
		return made, nil
	}
	key, err := made.target(wanted)
	if err != nil {
		return nil, err
	}
	for _, resource := range wanted.Resources {
		made[resource] = []Key{key}
	}
	return made, nil
}

// Step is one step on the way to the wanted configuration.
type Step struct {
	// Rewrite are the resources whose objects have to be written again first, by API servers that all have the present
	// configuration.
	Rewrite []string
	// Next is the configuration that comes then.
	Next Config
	// Texts for people, one for each resource that changes.
	Texts []string
}

// Next returns the step after c, which all API servers have; nil when c is as wanted. Two API servers of which one has
// c and the other the next configuration read all that either of them writes, so that pods are replaced one by one:
//
//	keys of a resource        the next step           its keys then
//	old                       read with the new key   old, new
//	old, new                  write with the new key  new, old
//	new, old                  rewrite, drop the old   new
//	new                       none
//
// No encryption is a key like the others; a resource without encryption has it alone.
func (c Config) Next(wanted Wanted) (*Step, error) {
	key, err := c.target(wanted)
	if err != nil {
		return nil, err
	}
	step := &Step{Next: maps.Clone(c)}
	names := slices.Collect(maps.Keys(c))
	if wanted.enabled() {
		names = append(names, wanted.Resources...)
	}
	slices.Sort(names)
	for _, resource := range slices.Compact(names) {
		target := plain
		if wanted.enabled() && slices.Contains(wanted.Resources, resource) {
			target = key
		}
		step.advance(resource, c[resource], target)
	}
	if len(step.Texts) == 0 {
		return nil, nil
	}
	return step, nil
}

// advance adds the step of one resource.
func (s *Step) advance(resource string, keys []Key, target Key) {
	if len(keys) == 0 {
		keys = []Key{plain}
	}
	at := slices.IndexFunc(keys, target.is)
	switch {
	case at < 0:
		s.Next[resource] = append(slices.Clone(keys), target)
		s.Texts = append(s.Texts, fmt.Sprintf("%s can be read with %s", resource, target))
	case at > 0:
		s.Next[resource] = slices.Insert(slices.Delete(slices.Clone(keys), at, at+1), 0, keys[at])
		s.Texts = append(s.Texts, fmt.Sprintf("%s are written with %s", resource, target))
	case len(keys) > 1:
		s.Rewrite = append(s.Rewrite, resource)
		s.Texts = append(s.Texts, fmt.Sprintf("%s are encrypted with %s alone", resource, target))
		if target == plain {
			s.Texts[len(s.Texts)-1] = resource + " are not encrypted"
			delete(s.Next, resource)
			return
		}
		s.Next[resource] = keys[:1]
	case target == plain:
		delete(s.Next, resource)
	}
}

// target returns the key that is wanted: the one that a resource has already, or a new one.
func (c Config) target(wanted Wanted) (Key, error) {
	if !wanted.enabled() {
		return plain, nil
	}
	key := Key{Provider: wanted.Provider, Name: wanted.KeyName}
	for _, keys := range c {
		if i := slices.IndexFunc(keys, key.is); i >= 0 {
			return keys[i], nil
		}
	}
	secret := make([]byte, keyBytes)
	if _, err := rand.Read(secret); err != nil {
		return Key{}, fmt.Errorf("making an encryption key: %w", err)
	}
	key.Secret = base64.StdEncoding.EncodeToString(secret)
	return key, nil
}
