package config

import (
	"fmt"
	"slices"
	"strings"
)

// FindKey returns the key of a document at a path, and the keys directly in it when it is a section. Items of
// lists may be written in any way: "machines.ssh.port", "machines[].ssh.port" and "machines[2].ssh.port" are one key,
// and a name that the user chooses stands for all of them. The empty path is the document itself.
func FindKey(document, path string) (key Key, inside []Key, found bool) {
	wanted := withoutItems(steps(path))
	if len(wanted) == 0 {
		key, found = Key{KeyEffect: KeyEffect{Document: document}, Section: true, Type: "section"}, true
	}
	for _, k := range Keys(document) {
		own := withoutName(withoutItems(steps(k.Key)))
		switch {
		case samePath(own, wanted):
			key, found = k, true
		case samePath(withoutName(own[:len(own)-1]), wanted):
			inside = append(inside, k)
		}
	}
	return key, inside, found
}

// withoutName drops a name at the end of a path that the user chooses: "mirrors" means every "mirrors.<registry>".
func withoutName(path []string) []string {
	if len(path) > 0 && strings.HasPrefix(path[len(path)-1], "<") {
		return path[:len(path)-1]
	}
	return path
}

// samePath reports whether a user's path is that of the schema, with a name of the user's choice at its end or without.
func samePath(schema, written []string) bool {
	if len(schema) > 0 && len(written) == len(schema)+1 {
		name := written[len(schema)]
		return (strings.HasPrefix(name, `["`) || strings.HasPrefix(name, "<")) &&
			stepsMatch(schema, written[:len(schema)])
	}
	return len(written) == len(schema) && stepsMatch(schema, written)
}

// withoutItems drops the items of lists from a path.
func withoutItems(path []string) []string {
	return slices.DeleteFunc(path, func(s string) bool {
		return strings.HasPrefix(s, "[") &&
			!strings.HasPrefix(s, `["`)
	})
}

// SimilarKeys returns suggestions for a key that neither document has: the keys with exactly its last name, or else the
// nearest.
func SimilarKeys(path string) []string {
	const most = 8
	wanted := withoutItems(steps(path))
	var same, all []string
	for _, e := range allKeys() {
		own := withoutItems(steps(e.Key))
		plain := strings.Join(own, ".")
		all = append(all, plain)
		if len(wanted) > 0 && own[len(own)-1] == wanted[len(wanted)-1] {
			same = append(same, fmt.Sprintf("%s (%s)", e.Key, e.Document))
		}
	}
	if len(same) > 0 {
		return same[:min(len(same), most)]
	}
	if near := nearest(strings.Join(wanted, "."), all); near != "" {
		return []string{near}
	}
	return nil
}
