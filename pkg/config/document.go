package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of one document. A ConfigMap holds 1 MiB at most; the others stop documents that grow when their anchors are
// expanded.
const (
	maxBytes    = 1 << 20
	maxNodes    = 100_000
	maxDepth    = 64
	maxProblems = 100
)

// node is one value of a document, with anchors and merge keys expanded.
type node struct {
	kind yaml.Kind // mapping, sequence or scalar
	tag  string    // the short tag of a scalar: "!!str", "!!int", …
	text string    // a scalar as it was written, without quotes
	path string
	// Where the value stands, and its key if it has one.
	line, column       int
	keyLine, keyColumn int

	fields []field
	items  []*node
}

// field is one entry of a mapping.
type field struct {
	name  string
	value *node
}

// document is one document while it is read, with the problems found so far.
type document struct {
	name     string
	root     *node
	nodes    map[string]*node // by path
	problems Problems
	count    int // of nodes that were converted
	stopped  bool
}

// read parses the text of a document. Its root is nil when the text is no YAML mapping.
func read(name string, text []byte) *document {
	d := &document{name: name, nodes: map[string]*node{}}
	if top := d.parse(text); top != nil {
		d.root = d.convert(top, "", 0)
	}
	if d.stopped {
		d.root = nil
	}
	return d
}

// add adds a problem at the position of key, or of the nearest enclosing key that was written.
func (d *document) add(key, text, suggestion string) {
	line, column := d.position(key)
	d.addAt(line, column, key, text, suggestion)
}

func (d *document) addAt(line, column int, key, text, suggestion string) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, Problem{
			Document: d.name, Line: line, Column: column, Key: key, Text: text, Suggestion: suggestion,
		})
	}
}

// position returns the position of a scalar's value, or of the key of any other value.
func (d *document) position(key string) (line, column int) {
	for key != "" {
		if n := d.nodes[key]; n != nil {
			if (n.kind == yaml.ScalarNode && n.tag != nullTag) || n.keyLine == 0 {
				return n.line, n.column
			}
			return n.keyLine, n.keyColumn
		}
		key = parent(key)
	}
	return 0, 0
}

// stop ends the reading of a document that is beyond its bounds.
func (d *document) stop(n *yaml.Node, text string) {
	if !d.stopped {
		d.stopped = true
		d.addAt(n.Line, n.Column, "", text, "")
	}
}

const nullTag = "!!null"

// convert copies a YAML node and the nodes that it refers to. It adds problems for duplicate keys, keys that are no
// text and unknown tags.
func (d *document) convert(from *yaml.Node, path string, depth int) *node {
	d.count++
	switch {
	case d.stopped:
		return nil
	case depth > maxDepth:
		d.stop(from, fmt.Sprintf("is nested more than %d levels deep, or an anchor holds itself", maxDepth))
		return nil
	case d.count > maxNodes:
		d.stop(from, fmt.Sprintf("holds more than %d values once its anchors are expanded", maxNodes))
		return nil
	case from.Kind == yaml.AliasNode:
		return d.convert(from.Alias, path, depth+1)
	}
	n := &node{kind: from.Kind, path: path, line: from.Line, column: from.Column}
	d.nodes[path] = n
	switch from.Kind {
	case yaml.MappingNode:
		n.fields = d.entries(from, path, depth)
	case yaml.SequenceNode:
		for i, item := range from.Content {
			if child := d.convert(item, path+"["+strconv.Itoa(i)+"]", depth+1); child != nil {
				n.items = append(n.items, child)
			}
		}
	default:
		n.tag, n.text = from.ShortTag(), from.Value
	}
	if !knownTag(from) {
		d.addAt(from.Line, from.Column, path, fmt.Sprintf("has the tag %s, which has no meaning here", shown(from.Tag)),
			"remove it")
	}
	return n
}

// entries returns the entries of a mapping. Those of merge keys come last, and never replace one that was written.
func (d *document) entries(from *yaml.Node, path string, depth int) []field {
	var fields []field
	var merged []*yaml.Node
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(from.Content); i += 2 {
		key, value := from.Content[i], from.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			merged = append(merged, value)
			continue
		case key.Kind != yaml.ScalarNode || key.ShortTag() == nullTag:
			d.addAt(key.Line, key.Column, path, "has a key that is not text", "")
			continue
		case key.ShortTag() == "!!int" || key.ShortTag() == "!!float" || key.ShortTag() == "!!bool":
			d.addAt(key.Line, key.Column, join(path, key.Value), "is read as a number or a boolean, not as a key",
				fmt.Sprintf("write it in quotes: %q", key.Value))
			continue
		}
		if first := seen[key.Value]; first != nil {
			d.addAt(key.Line, key.Column, join(path, key.Value),
				fmt.Sprintf("is a duplicate of the key in line %d", first.Line), "remove one of them")
			continue
		}
		seen[key.Value] = key
		if child := d.convert(value, join(path, key.Value), depth+1); child != nil {
			child.keyLine, child.keyColumn = key.Line, key.Column
			fields = append(fields, field{key.Value, child})
		}
	}
	for _, source := range merged {
		fields = append(fields, d.merge(source, path, depth, seen)...)
	}
	return fields
}

// merge returns the entries that "<<" merges in, from a mapping or a list of mappings.
func (d *document) merge(source *yaml.Node, path string, depth int, seen map[string]*yaml.Node) []field {
	d.count++
	if depth > maxDepth || d.count > maxNodes {
		d.stop(source, "merges too much, or an anchor merges itself")
		return nil
	}
	switch source.Kind {
	case yaml.AliasNode:
		return d.merge(source.Alias, path, depth+1, seen)
	case yaml.SequenceNode:
		var fields []field
		for _, item := range source.Content {
			fields = append(fields, d.merge(item, path, depth+1, seen)...)
		}
		return fields
	case yaml.MappingNode:
		return d.mergeMapping(source, path, depth, seen)
	}
	d.addAt(source.Line, source.Column, path, `"<<" needs an anchor of a mapping`, "")
	return nil
}

func (d *document) mergeMapping(source *yaml.Node, path string, depth int, seen map[string]*yaml.Node) []field {
	written := make(map[string]*node, len(seen))
	for name := range seen {
		written[name] = d.nodes[join(path, name)]
	}
	var fields []field
	for _, entry := range d.entries(source, path, depth+1) {
		if _, known := seen[entry.name]; !known {
			seen[entry.name] = source
			fields = append(fields, entry)
		}
	}
	for name, own := range written {
		if own != nil {
			d.nodes[join(path, name)] = own
		}
	}
	return fields
}

// knownTag reports whether YAML defines a node's tag for its kind.
func knownTag(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.MappingNode:
		return n.ShortTag() == "!!map"
	case yaml.SequenceNode:
		return n.ShortTag() == "!!seq"
	}
	return slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", nullTag, "!!timestamp", "!!merge"},
		n.ShortTag())
}

// get returns the value of a key of a mapping, or nil.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

// find returns the value at a path of plain keys ("controlPlane.distro.k3s"), or nil.
func (n *node) find(path string) *node {
	for name := range strings.SplitSeq(path, ".") {
		n = n.get(name)
	}
	return n
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)

// join appends a key to a path; keys that are no plain words stand in brackets and quotes.
func join(path, name string) string {
	switch {
	case !plainKey.MatchString(name):
		return path + "[" + shown(name) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

// parent returns a path without its last part.
func parent(path string) string {
	if strings.HasSuffix(path, `"]`) {
		if i := strings.LastIndex(path, `["`); i >= 0 {
			return path[:i]
		}
	}
	if i := strings.LastIndexAny(path, ".["); i >= 0 {
		return path[:i]
	}
	return ""
}

// shown quotes a user's text for a message: control characters are visible, and long text is cut.
func shown(text string) string {
	const most = 80
	if len(text) > most {
		return strconv.Quote(strings.ToValidUTF8(text[:most], "")) + "…"
	}
	return strconv.Quote(text)
}
