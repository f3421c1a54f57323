package config

import (
	"fmt"
	"strings"
)

// maxListed is how many keys a remark names.
const maxListed = 4

// counted returns the number of keys with the words for one or for several.
func counted(keys []string, one, several string) string {
	if len(keys) == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", len(keys), several)
}

// listed names the first keys, and how many more there are.
func listed(keys []string) string {
	if len(keys) > maxListed {
		return fmt.Sprintf("%s and %d more", strings.Join(keys[:maxListed], ", "), len(keys)-maxListed)
	}
	return strings.Join(keys, ", ")
}
