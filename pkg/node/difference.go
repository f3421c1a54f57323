package node

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// maxDiffLines bounds the diff of one file: it travels in an answer, and people read it.
const maxDiffLines = 60

// FileChange is how a file differs from what it should hold.
func FileChange(h *host.Host, name string, wanted []byte, effect spec.Effect) spec.Change {
	have, _ := h.ReadFile(name)
	return spec.Change{What: name, Diff: Diff(name, string(have), string(wanted)), Effect: effect}
}

// FileRemoval is a file that should not be there.
func FileRemoval(h *host.Host, name string, effect spec.Effect) spec.Change {
	return FileChange(h, name, nil, effect)
}

// SecretFileChange is a file with secrets that differs: how, is nobody's business.
func SecretFileChange(name string, effect spec.Effect) spec.Change {
	return spec.Change{What: name, Effect: effect}
}

// Diff is unified, from have to wanted, and cut where it is too long to read.
func Diff(name, have, wanted string) string {
	text := udiff.Unified(name, name+" (wanted)", have, wanted)
	lines := strings.SplitAfter(text, "\n")
	if len(lines) <= maxDiffLines {
		return text
	}
	return strings.Join(lines[:maxDiffLines], "") + fmt.Sprintf("... and %d more lines\n", len(lines)-maxDiffLines)
}
