package node

import (
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// maxDiffLines bounds the diff of one file, since it is part of an answer that people read.
const maxDiffLines = 60

// FileChange returns the difference between a file and the content that it should have.
func FileChange(h *host.Host, name string, wanted []byte, effect spec.Effect) spec.Change {
	have, _ := h.ReadFile(name)
	return spec.Change{What: name, Diff: Diff(name, string(have), string(wanted)), Effect: effect}
}

// FileRemoval returns the change that removes a file.
func FileRemoval(h *host.Host, name string, effect spec.Effect) spec.Change {
	return FileChange(h, name, nil, effect)
}

// SecretFileChange returns the change of a file with secrets; it has no diff.
func SecretFileChange(name string, effect spec.Effect) spec.Change {
	return spec.Change{What: name, Effect: effect}
}

// Diff returns a unified diff from have to wanted, of at most maxDiffLines lines.
func Diff(name, have, wanted string) string {
	text := udiff.Unified(name, name+" (wanted)", have, wanted)
	lines := strings.SplitAfter(text, "\n")
	if len(lines) <= maxDiffLines {
		return text
	}
	return strings.Join(lines[:maxDiffLines], "") + "... and " + count.Of(len(lines)-maxDiffLines, "more line") + "\n"
}
