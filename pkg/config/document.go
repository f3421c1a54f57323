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
	style              style

	fields []field
	items  []*node
}

// style is how a value was written, as far as it shows the intention.
type style int

const (
	inFlow       style = iota + 1 // a list in "[]" or a mapping in "{}"
	inOneLine                     // one key and its value in one line, without "{}"
	otherwiseSet                  // neither
)

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
	beyond   int // problems that are not listed, because there are too many
	count    int // of nodes that were converted
	stopped  bool

	// The keys that have a problem already. A key gets no second one: it would only follow from the first.
	reported map[string]bool
	// Those whose value could not be read, so that nothing is known of the keys below it either.
	unread map[string]bool
	// Those whose number or boolean is to be text, with the indexes of their problems.
	unquoted map[string]int
	ignored  map[string]bool // paths of values that pass because they are the original's defaults
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

// add adds a problem at the position of key, or of the nearest enclosing key that was written, unless the key has a
// problem already.
func (d *document) add(key, text, suggestion string) {
	if i, ok := d.unquoted[key]; ok {
		delete(d.unquoted, key)
		d.problems[i].Text += ", and " + text
		d.problems[i].Suggestion = suggestion
		return
	}
	if d.hasProblem(key) {
		return
	}
	if n := d.nodes[key]; n != nil && n.kind == yaml.ScalarNode {
		if name := lookalike(n.text); name != "" {
			suggestion = "it holds " + name + "; type a plain one"
		}
	}
	line, column := d.position(key)
	d.addAt(line, column, key, text, suggestion)
}

// addUnread adds a problem of a key whose value cannot be read.
func (d *document) addUnread(key, text, suggestion string) {
	d.add(key, text, suggestion)
	d.giveUp(key)
}

// giveUp notes that nothing is known of a key and of those below it, so that they need no further problem.
func (d *document) giveUp(key string) {
	if d.unread == nil {
		d.unread = map[string]bool{}
	}
	d.unread[key] = true
}

// addUnquoted adds the problem of a number or a boolean that is to be text. If the text has a problem too, which is
// added later, both become one.
func (d *document) addUnquoted(n *node) {
	known := len(d.problems)
	d.add(n.path, "must be text, not "+n.describe(), "write it in quotes")
	if len(d.problems) > known {
		if d.unquoted == nil {
			d.unquoted = map[string]int{}
		}
		d.unquoted[n.path] = known
	}
}

func (d *document) addAt(line, column int, key, text, suggestion string) {
	if d.reported == nil {
		d.reported = map[string]bool{}
	}
	if key != "" {
		d.reported[key] = true
	}
	if len(d.problems) >= maxProblems {
		d.beyond++
		return
	}
	d.problems = append(d.problems, Problem{
		Document: d.name, Line: line, Column: column, Key: key, Text: text, Suggestion: suggestion,
	})
}

// hasProblem reports whether a key has a problem, or one that it lies in could not be read.
func (d *document) hasProblem(key string) bool {
	if d.reported[key] || d.unread[key] {
		return true
	}
	if len(d.unread) > 0 {
		for above := parent(key); above != ""; above = parent(above) {
			if d.unread[above] {
				return true
			}
		}
	}
	return false
}

// all returns the problems that are listed, and as the last one how many are not.
func (d *document) all() Problems {
	if d.beyond == 0 {
		return d.problems
	}
	return append(d.problems, Problem{
		Document: d.name, Text: fmt.Sprintf("has %d further problems, which are not listed", d.beyond),
		Suggestion: "correct those above first", beyond: d.beyond,
	})
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

// stop ends the reading of a document of which nothing more can be known.
func (d *document) stop(n *yaml.Node, text, suggestion string) {
	if !d.stopped {
		d.stopped = true
		d.addAt(n.Line, n.Column, "", text, suggestion)
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
		d.stop(from, fmt.Sprintf("is nested more than %d levels deep, or an anchor holds itself", maxDepth), "")
		return nil
	case d.count > maxNodes:
		d.stop(from, fmt.Sprintf("holds more than %d values once its anchors are expanded", maxNodes), "")
		return nil
	case from.Kind == yaml.AliasNode:
		return d.convert(from.Alias, path, depth+1)
	}
	n := &node{kind: from.Kind, path: path, line: from.Line, column: from.Column, style: styleOf(from)}
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

// styleOf returns how a YAML node was written.
func styleOf(n *yaml.Node) style {
	switch {
	case n.Style&yaml.FlowStyle != 0:
		return inFlow
	case n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[1].Kind == yaml.ScalarNode &&
		(n.Content[1].Line == n.Content[0].Line || n.Content[1].ShortTag() == nullTag):
		return inOneLine
	}
	return otherwiseSet
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
		if name := lookalike(key.Value); name != "" && key.Kind == yaml.ScalarNode && plainStyle(key) {
			// The key may belong to another section than it stands in.
			d.stop(key, "holds "+name+" in or before a key", "type a plain one")
			return nil
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
		d.stop(source, "merges too much, or an anchor merges itself", "")
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
