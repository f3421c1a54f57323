package main

import (
	"os"
	"path/filepath"
	"time"
)

// olderAfter is how long another plugin's argosy-node is left alone: two versions of the plugin may take turns on a
// machine, and neither should have to bring its program each time.
const olderAfter = 24 * time.Hour

// removeOlder removes the argosy-node of earlier plugins, named argosy-node-<16 hex digits> beside this one. A running
// one goes on. One that cannot be removed is tried again next time.
func removeOlder(self string, now time.Time) {
	others, _ := filepath.Glob(filepath.Join(filepath.Dir(self), "argosy-node-????????????????"))
	for _, other := range others {
		info, err := os.Lstat(other)
		if err == nil && other != self && info.Mode().IsRegular() && now.Sub(info.ModTime()) > olderAfter {
			_ = os.Remove(other)
		}
	}
}
