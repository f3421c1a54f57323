package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/golden"
)

// The pages are made from the schemas of the present sources, not from those that are compiled in, so that one run
// writes both.
func TestTheReferenceIsUpToDate(t *testing.T) {
	for document, file := range map[string]string{VClusterDocument: "vcluster.md", FleetDocument: "argosy.md"} {
		golden.Assert(t, reference(document, generated(t, document)), "../../../docs/reference/"+file)
	}
}

// reference returns the page of the documentation about a document, in Markdown: first the effects of changes, then
// every key, one table a section.
func reference(document string, s *schema) string {
	keys := s.keys(document, "")
	p := &page{refused: map[string][]string{}}
	for _, k := range keys {
		p.refused[k.Key] = k.Refused
	}
	p.write("# %s\n\n%s\n\n%s\n", document, s.Description, aboutReference)
	if document == VClusterDocument {
		p.write("%s", aboutVCluster)
	}
	p.effects(keys)
	p.sections("", keys, 2)
	return p.text.String()
}

// page is a page of the reference while it is written.
type page struct {
	text bytes.Buffer
	// refused are the reasons by key, to write each only at the section where it begins.
	refused map[string][]string
}

func (p *page) write(format string, values ...any) { fmt.Fprintf(&p.text, format, values...) }

// effects writes the table of effects, with their keys.
func (p *page) effects(keys []Key) {
	p.write("\n## What a change needs\n\n| a change | of |\n|---|---|\n")
	for _, e := range effectsInOrder() {
		if of := subtrees(keys, e.effect); len(of) > 0 {
			p.write("| **%s**: %s | %s |\n", e.effect, e.means, strings.Join(of, ", "))
		}
	}
}

const (
	aboutReference = "Generated from the Go types by `make generate`; `argosy config explain KEY` prints " +
		"the same, and\n" +
		"[configuration.md](../configuration.md) is where to begin. `[]` stands for an item of a list, `<name>` for " +
		"a name of your choice."
	aboutVCluster = "\nIn a cluster that exists already, named by `cluster.kubeconfigSecret` in `argosy.yaml`, only " +
		"what takes effect on machines and in\n" +
		"the plugin counts: its control plane and what is deployed in it are not Argosy's, and keys that say " +
		"something about them have no effect.\n"
)

// subtrees returns the keys with an effect, or in their stead the section whose keys all have it.
func subtrees(keys []Key, effect Effect) []string {
	uniform := func(section string) bool {
		for _, k := range keys {
			if !k.Section && isBelow(k.Key, section) && k.Effect != effect {
				return false
			}
		}
		return true
	}
	var found []string
	covered := ""
	for _, k := range keys {
		switch {
		case covered != "" && isBelow(k.Key, covered):
		case k.Section && uniform(k.Key):
			covered = k.Key
			found = append(found, "`"+k.Key+".*`")
		case !k.Section && k.Effect == effect:
			found = append(found, "`"+k.Key+"`")
		}
	}
	return found
}

func isBelow(key, section string) bool { return strings.HasPrefix(key, section+".") }

// Sections with more keys than this are split into their subsections.
const largeSection = 40

// sections writes the keys below a section: those of its own in one table, then each section in it.
func (p *page) sections(above string, keys []Key, level int) {
	var own []Key
	var inner [][]Key
	for start := 0; start < len(keys); {
		end := start + 1
		for end < len(keys) && isBelow(keys[end].Key, keys[start].Key) {
			end++
		}
		if keys[start].Section && (above == "" || len(keys) > largeSection) {
			inner = append(inner, keys[start:end])
		} else {
			own = append(own, keys[start:end]...)
		}
		start = end
	}
	if above == "" && len(own) > 0 {
		p.write("\n## Keys at the top\n")
	}
	p.table(above, own)
	for _, section := range inner {
		head := section[0]
		p.write("\n%s %s\n\n%s\n", strings.Repeat("#", min(level, 5)), head.Key, p.meaning(head))
		p.sections(head.Key, section[1:], level+1)
	}
}

func (p *page) table(section string, keys []Key) {
	if len(keys) == 0 {
		return
	}
	p.write("\n| key | type | default | meaning | example | takes effect at | a change " +
		"|\n|---|---|---|---|---|---|---|\n")
	for _, k := range keys {
		name := strings.TrimPrefix(strings.TrimPrefix(k.Key, section), ".")
		if k.Section {
			p.write("| `%s` | section | | %s | | | |\n", name, inCell(p.meaning(k)))
			continue
		}
		last := name[strings.LastIndex(name, ".")+1:]
		p.write("| `%s` | %s | %s | %s | %s | %s | %s |\n", name, inCell(k.Type+among(k.Allowed)), code(k.Default),
			inCell(p.meaning(k)),
			code(last+": "+k.Example), cmp.Or(string(k.At), "–"), k.Effect)
	}
}

// meaning returns the meaning of a key, whether it is required, and why values are refused.
func (p *page) meaning(k Key) string {
	text := k.Meaning
	if k.Required {
		text += " Required."
	}
	for _, reason := range k.Refused {
		if above, _, found := cutLast(k.Key, "."); !found || !slices.Contains(p.refused[above], reason) {
			text += " Anything more is refused: it " + reason + "."
		}
	}
	for _, reason := range k.RefusedInside {
		text += " In it, " + reason + "."
	}
	return text
}

// cutLast cuts a text at the last separator.
func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

func among(allowed []string) string {
	if len(allowed) == 0 {
		return ""
	}
	return ": " + strings.Join(allowed, ", ")
}

// code formats text in a cell that is to be typed as it is.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

// inCell escapes a sentence for a cell.
func inCell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", `&lt;`).Replace(text)
}
