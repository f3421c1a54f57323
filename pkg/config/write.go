package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Redacted replaces a secret in a printed document.
const Redacted = "<redacted>"

// Printed returns one of the cluster's documents (VClusterDocument or FleetDocument) as YAML, in the order of its types
// and completed by the defaults. It parses to the same again, but for secrets, which it shows as "<redacted>".
func (c *Cluster) Printed(document string) ([]byte, error) {
	if document == FleetDocument {
		return inBlocks(c.Fleet, reflect.ValueOf(defaultFleet()))
	}
	return inBlocks(c.VCluster, reflect.ValueOf(defaultVCluster()))
}

// PrintedDefaults returns the defaults of a document in the form of that document. Keys that are required and have no
// default are in it too: privateNodes.enabled, apiVersion and kind.
func PrintedDefaults(document string) ([]byte, error) {
	c := Defaults()
	c.VCluster.PrivateNodes.Enabled = true
	c.Fleet.APIVersion, c.Fleet.Kind = fleetAPIVersion, fleetKind
	return c.Printed(document)
}

// machineSettings holds all settings of one machine: how it is reached, and its settings as a node, both merged.
type machineSettings struct {
	Name     string            `json:"name"`
	Address  string            `json:"address"`
	NodeName string            `json:"nodeName"`
	Labels   map[string]string `json:"labels,omitempty"`
	SSH      SSH               `json:"ssh"`
	Join     NodeSettings      `json:"join"`
}

// PrintedMachine returns the settings of a machine as YAML, below comments with its overrides.
func (c *Cluster) PrintedMachine(m Machine) ([]byte, error) {
	text, err := inBlocks(machineSettings{m.Name, m.Address, m.NodeName, m.Labels, c.SSHFor(m), c.Settings(m)},
		reflect.Value{})
	if err != nil {
		return nil, fmt.Errorf("printing machine %q: %w", m.Name, err)
	}
	var page bytes.Buffer
	overrides := c.Overrides(m)
	if len(overrides) == 0 {
		fmt.Fprintf(&page, "# machine %s has the settings of all machines in vcluster.yaml.\n", m.Name)
	} else {
		fmt.Fprintf(&page, "# machine %s overrides:\n", m.Name)
	}
	for _, sentence := range overrides {
		fmt.Fprintf(&page, "#   %s\n", strings.ReplaceAll(sentence, "\n", " "))
	}
	page.Write(text)
	return page.Bytes(), nil
}

// inBlocks writes a struct as YAML in the order of its fields. Zero values are left out unless their default is not
// zero: a key that was switched off has to be visible. An empty list that was written is no zero value. Defaults may be
// invalid.
func inBlocks(value any, defaults reflect.Value) ([]byte, error) {
	top, err := nodeOf(reflect.ValueOf(value), defaults)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(top); err != nil {
		return nil, fmt.Errorf("encoding as YAML: %w", err)
	}
	return out.Bytes(), nil
}

// nodeOf returns a value as YAML.
func nodeOf(v, defaults reflect.Value) (*yaml.Node, error) {
	switch v.Type() {
	case secretType:
		return plain(Redacted)
	case durationType:
		return plain(inYAML(v.Interface()))
	}
	switch {
	case v.Kind() == reflect.Pointer:
		return nodeOf(v.Elem(), reflect.Value{})
	case v.Kind() == reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		return n, addFields(n, v, defaults)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			item, err := nodeOf(v.Index(i), reflect.Value{})
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, item)
		}
		return n, nil
	case v.Kind() == reflect.Map && v.Type().Elem().Kind() == reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range slices.SortedFunc(slices.Values(v.MapKeys()),
			func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }) {
			if err := addEntry(n, name.String(), v.MapIndex(name), reflect.Value{}); err != nil {
				return nil, err
			}
		}
		return n, nil
	}
	return plain(v.Interface())
}

// addFields adds the fields of a struct to a mapping; those of an embedded one stand among them.
func addFields(n *yaml.Node, v, defaults reflect.Value) error {
	for i := range v.NumField() {
		field, of := v.Type().Field(i), reflect.Value{}
		if defaults.IsValid() {
			of = defaults.Field(i)
		}
		name := keyOf(field)
		switch {
		case name == "" && field.Anonymous:
			if err := addFields(n, v.Field(i), of); err != nil {
				return err
			}
		case name == "" || v.Field(i).IsZero() && strings.Contains(field.Tag.Get("json"), ",omit") &&
			(!of.IsValid() || of.IsZero()):
		default:
			if err := addEntry(n, name, v.Field(i), of); err != nil {
				return err
			}
		}
	}
	return nil
}

func addEntry(n *yaml.Node, name string, v, defaults reflect.Value) error {
	key, err := plain(name)
	if err != nil {
		return err
	}
	value, err := nodeOf(v, defaults)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	n.Content = append(n.Content, key, value)
	return nil
}

// plain returns a value without secrets as YAML.
func plain(value any) (*yaml.Node, error) {
	n := &yaml.Node{}
	if err := n.Encode(value); err != nil {
		return nil, fmt.Errorf("encoding as YAML: %w", err)
	}
	return n, nil
}
