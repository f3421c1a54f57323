package rollout

import (
	"cmp"
	"fmt"
	"strings"
)

// natural compares names as people order them: m2 comes before m10. Names that differ only in leading zeros are ordered
// as bytes, so that two different names are never equal.
func natural(a, b string) int {
	restA, restB := a, b
	for restA != "" && restB != "" {
		var partA, partB string
		partA, restA = part(restA)
		partB, restB = part(restB)
		if order := compareParts(partA, partB); order != 0 {
			return order
		}
	}
	return cmp.Or(cmp.Compare(len(restA), len(restB)), strings.Compare(a, b))
}

// part cuts the digits, or else the one byte, that name begins with.
func part(name string) (first, rest string) {
	end := 0
	for end < len(name) && digit(name[end]) {
		end++
	}
	end = max(end, 1)
	return name[:end], name[end:]
}

func digit(b byte) bool { return '0' <= b && b <= '9' }

// compareParts compares numbers by value, without parsing them, since a name may hold one of any length.
func compareParts(a, b string) int {
	if !digit(a[0]) || !digit(b[0]) {
		return cmp.Compare(a[0], b[0])
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// namesShown is how many machines a sentence names before it counts the others; Argo's UI shows one line.
const namesShown = 5

// list names machines in a sentence: "m1, m2", or "m1, m2, m3, m4, m5 and 7 others".
func list(names []string) string {
	switch others := len(names) - namesShown; {
	case others <= 0:
		return strings.Join(names, ", ")
	case others == 1:
		return strings.Join(names[:namesShown], ", ") + " and another one"
	default:
		return fmt.Sprintf("%s and %d others", strings.Join(names[:namesShown], ", "), others)
	}
}

// are is the list with its verb: "m1 is", "m1, m2 are".
func are(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return list(names) + " are"
}
