// Package count writes a number and the noun that it counts, for messages. It never groups digits.
package count

import (
	"fmt"
	"strings"
)

// Of returns n and the noun in the singular or the plural, which is regular English: "1 machine", "0 pods",
// "2 registries". Before the noun other words may stand: "3 more lines".
func Of[N ~int | ~int32 | ~int64 | ~uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %s", n, plural(noun))
}

func plural(noun string) string {
	stem, isY := strings.CutSuffix(noun, "y")
	switch {
	case isY && stem != "" && !strings.ContainsAny(stem[len(stem)-1:], "aeiou"):
		return stem + "ies"
	case strings.HasSuffix(noun, "s"), strings.HasSuffix(noun, "x"), strings.HasSuffix(noun, "ch"):
		return noun + "es"
	}
	return noun + "s"
}
