package reset

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
)

// unreadableNote is where a note goes that cannot be read, with the files that it was to tell of.
const unreadableNote = original.Dir + ".unreadable"

// readNote reads the originals of paths that Argosy changed. A note that cannot be read is as none: the files that are
// marked as Argosy's go, and nothing can come back by itself.
func readNote(h *host.Host) (*original.Note, error) {
	note, err := original.Read(h)
	if errors.Is(err, node.ErrUnreadable) {
		return &original.Note{}, nil
	}
	return note, err
}

// originals are the noted paths of programs, or of the other files, and how each stands.
type originals struct {
	note *original.Note
	// due are those that have to be restored, in order, and foreign those with neither Argosy's content nor the
	// original.
	due, foreign []string
}

// readOriginals compares noted paths with the note. containerd's unit is the last: it tells that containerd's data is
// Argosy's.
func readOriginals(n *node.Context, programs bool) (originals, error) {
	note, err := readNote(n.Host)
	if err != nil {
		return originals{}, err
	}
	r := originals{note: note}
	for _, name := range note.Names() {
		if note.Of(name).Program != programs {
			continue
		}
		standing, err := note.Stands(n.Host, name, ofArgosy(n, note, name))
		if err != nil {
			return originals{}, err
		}
		switch standing {
		case original.Ours:
			r.due = append(r.due, name)
		case original.Foreign:
			r.foreign = append(r.foreign, name)
		}
	}
	last := []string{layout.ContainerdConfig, layout.EnabledLink("containerd"), layout.Unit("containerd")}
	slices.SortStableFunc(r.due, func(a, b string) int {
		return cmp.Compare(slices.Index(last, a), slices.Index(last, b))
	})
	return r, nil
}

// ofArgosy tells by other evidence than the note whether the content of a path is Argosy's.
func ofArgosy(n *node.Context, note *original.Note, name string) func() bool {
	if note.Of(name).Program {
		return func() bool {
			all := sources(n, filepath.Dir(name))
			return slices.ContainsFunc(all, func(s source) bool {
				return s.installed == name && sameFile(n.Host, s.stored, name)
			})
		}
	}
	return func() bool { return inspect.Marked(n.Host, name) || lostContent(n.Host, name) }
}

// isOriginal reports whether the original of a path is in its place.
func isOriginal(h *host.Host, name string) bool {
	note, err := readNote(h)
	if err != nil || note.Of(name) == nil {
		return false
	}
	standing, err := note.Stands(h, name, nil)
	return err == nil && standing == original.Original
}

// find describes each path that is due.
func (r originals) find() []string {
	var found []string
	for _, name := range r.due {
		if r.note.Of(name).Kind == original.Nothing {
			found = append(found, name)
		} else {
			found = append(found, name+", which replaced the original")
		}
	}
	return found
}

// restore restores originals, and returns how many files and links of before came back and where edits are kept.
func (r originals) restore(h *host.Host) (back int, edited []string, err error) {
	for _, name := range r.due {
		kept, err := r.note.KeepEdited(h, original.File{Name: name})
		if err != nil {
			return 0, nil, err
		}
		if kept != "" {
			edited = append(edited, kept)
		}
		if err := r.note.Restore(h, name); err != nil {
			return 0, nil, err
		}
		if r.note.Of(name).Kind != original.Nothing {
			back++
		}
	}
	// The originals have to be on the disk before the folders go in which it was kept.
	return back, edited, h.SyncFolders()
}

// noted reports whether a path is in the note.
func (r originals) noted(name string) bool { return r.note.Of(name) != nil }

// replaced is a remark on paths with neither Argosy's content nor the original.
func replaced(n *node.Context) string {
	var names []string
	for _, programs := range []bool{true, false} {
		if r, err := readOriginals(n, programs); err == nil {
			names = append(names, r.foreign...)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s stays as it is: it is neither Argosy's nor the original",
		strings.Join(names, ", "))
}

// pruneMade removes folders that are empty, in this order, unless they were there before Argosy.
func pruneMade(h *host.Host, note *original.Note, dirs ...string) {
	for _, dir := range dirs {
		if !note.HadFolder(dir) {
			prune(h, dir)
		}
	}
}
