package original

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"argosy.dev/argosy/pkg/node/host"
)

// Standing is how a noted path stands now.
type Standing int

// The standings, and the way in which Restore is used for each:
//
//	at the path                                        standing  restoring
//	the original, with its owner, mode and time        Original  not needed
//	Argosy's content, or the original's but its owner  Ours      replaces it by the original
//	nothing, and the original is a file or a link      Ours      makes the original
//	anything else                                      Foreign   never: another program or person put it there
const (
	Original Standing = iota
	Ours
	Foreign
)

// Stands tells how a noted path stands. ours reports whether its content is Argosy's by other evidence, such as a
// file of a bundle; nil for none.
func (n *Note) Stands(h *host.Host, name string, ours func() bool) (Standing, error) {
	entry := n.Of(name)
	now, err := look(h, name)
	if err != nil {
		return Foreign, nil
	}
	if now.kind == Nothing {
		if entry.Kind == Nothing {
			return Original, nil
		}
		return Ours, nil
	}
	if entry.intact(h, name, now) {
		return Original, nil
	}
	if ours != nil && ours() {
		return Ours, nil
	}
	digest, err := now.digest(h, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Ours, nil
	case err != nil:
		return Foreign, err
	case entry.same(now, digest):
		return Original, nil
	case digest == entry.content() || entry.ours(digest):
		return Ours, nil
	}
	return Foreign, nil
}

// intact reports whether the file that was noted stands there. Its copy is a second name of it, or has the same content
// where it is on another file system. An empty original counts too, which other evidence takes for a file of Argosy's
// that lost its content with the power.
func (e *Entry) intact(h *host.Host, name string, now state) bool {
	if e.Kind != Regular || !e.same(now, e.SHA256) {
		return false
	}
	kept, err := os.Lstat(h.Path(filepath.Join(Dir, e.Copy)))
	if err == nil {
		if there, err := os.Lstat(h.Path(name)); err == nil && os.SameFile(kept, there) {
			return true
		}
	}
	digest, err := fileDigest(h, name)
	return err == nil && digest == e.SHA256
}

// Restore restores the original of a path, by rename. The note keeps the entry, so that it can be called again.
func (n *Note) Restore(h *host.Host, name string) error {
	entry := n.Of(name)
	switch entry.Kind {
	case Symlink:
		return link(h, entry, name)
	case Regular:
		if err := h.Replace(filepath.Join(Dir, entry.Copy), name); err != nil {
			return fmt.Errorf("restoring %q: %w", name, err)
		}
		return nil
	}
	if err := h.Remove(name); err != nil {
		return err
	}
	if entry.Above == "" {
		return nil
	}
	// Folders that Argosy made go with the last file in them; one that holds something else refuses.
	for dir := filepath.Dir(name); beneath(entry.Above, dir); dir = filepath.Dir(dir) {
		if h.Exists(dir) && h.RemoveOne(dir) != nil {
			break
		}
	}
	return nil
}

// Release restores a path on a machine that stays a node, and marks it so in the note: the path is its owner's from
// now on, and is noted anew before the next change. It reports whether the path was noted, and where an edit of
// Argosy's file is kept.
func Release(h *host.Host, name string) (noted bool, edited string, err error) {
	note, err := Read(h)
	if err != nil || note.Of(name) == nil {
		return false, "", err
	}
	if edited, err = note.KeepEdited(h, File{Name: name}); err != nil {
		return false, "", err
	}
	if err := note.Restore(h, name); err != nil {
		return false, "", err
	}
	note.Entries[name].Released = true
	return true, edited, note.write(h)
}

// RestoreSame restores a path, with owner and time, if its original has exactly this content, and reports whether it
// has.
func RestoreSame(h *host.Host, name string, content []byte) (bool, error) {
	note, err := Read(h)
	if err != nil {
		return false, err
	}
	entry := note.Of(name)
	if entry == nil || entry.Kind != Regular || entry.SHA256 != DigestOf(content) {
		return false, nil
	}
	return true, note.Restore(h, name)
}
