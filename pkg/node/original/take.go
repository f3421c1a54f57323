package original

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"argosy.dev/argosy/pkg/node/host"
)

// File is one path that is about to be changed.
type File struct {
	Name string
	// SHA256 is the digest of the content that the path gets, hex; empty where it gets a link or nothing.
	SHA256 string
	// Link is where the link leads that the path gets; empty for none.
	Link string
	// Secret content is never kept beside the path.
	Secret bool
	// InPlace is set where another program writes the path without a new file, so that a second name would not keep the
	// original.
	InPlace bool
	// Program is set for programs, which no one edits: Ours then also proves that the content is Argosy's as it was
	// written.
	Program bool
	// Ours reports whether the present content came from Argosy, by other evidence than the note: versions before the
	// note left none. Nil for no such evidence.
	Ours func() bool
	// Before is where a version before the note kept the original; empty for nowhere.
	Before string
}

func (f File) digest() string {
	if f.Link != "" {
		return linkDigest(f.Link)
	}
	return f.SHA256
}

// Take notes, durably, the original of each path that was not noted yet. It must return before any of them is changed.
// Where a noted path was changed since Argosy wrote it, Take keeps the present file under another name in the same
// folder; these names are returned.
func Take(h *host.Host, files ...File) (edited []string, err error) {
	note, err := Read(h)
	if err != nil {
		return nil, err
	}
	changed := false
	var migrated []string
	for _, f := range files {
		kept, more, err := note.take(h, f)
		if err != nil {
			return nil, err
		}
		if kept != "" {
			edited = append(edited, kept)
		}
		if more && note.migrated(h, f) {
			migrated = append(migrated, f.Before)
		}
		changed = changed || more
	}
	if changed {
		err = note.write(h)
	}
	if err == nil {
		err = h.Remove(migrated...)
	}
	return edited, err
}

// migrated reports whether the note has all that a version before it kept of a path. It has not where the owner has
// replaced Argosy's file since, so that the replacement was noted.
func (n *Note) migrated(h *host.Host, f File) bool {
	if f.Before == "" {
		return false
	}
	before, err := look(h, f.Before)
	if err != nil || before.kind == Nothing {
		return false
	}
	digest, err := before.digest(h, f.Before)
	return err == nil && digest == n.Entries[f.Name].content()
}

// take notes one path, and reports whether that changed the note.
func (n *Note) take(h *host.Host, f File) (kept string, changed bool, err error) {
	now, err := look(h, f.Name)
	if err != nil {
		return "", false, err
	}
	entry := n.Of(f.Name)
	if entry == nil {
		if entry, err = n.first(h, f, now); err != nil {
			return "", false, fmt.Errorf("noting the original of %q: %w", f.Name, err)
		}
		entry.Program, entry.Secret = f.Program, f.Secret
		n.Entries[f.Name], changed = entry, true
	}
	if kept, err = n.keepEdited(h, f, entry, now); err != nil {
		return "", false, err
	}
	if digest := f.digest(); digest != "" && !slices.Contains(entry.Written, digest) {
		entry.Written = slices.Insert(entry.Written, 0, digest)
		entry.Written = entry.Written[:min(len(entry.Written), written)]
		changed = true
	}
	return kept, changed, nil
}

// first makes the entry of a path that Argosy has not changed yet, or has changed before there was a note.
func (n *Note) first(h *host.Host, f File, now state) (*Entry, error) {
	if old := n.Entries[f.Name]; old != nil && now.kind != Nothing {
		// It was restored once. If Argosy's content came back by a rollback, the first original holds still.
		digest, err := now.digest(h, f.Name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(old.Written, digest) {
			old.Released = false
			return old, nil
		}
	}
	if now.kind != Nothing && f.Ours != nil && f.Ours() {
		if f.Before == "" || !h.Exists(f.Before) {
			return &Entry{Kind: Nothing}, nil
		}
		before, err := look(h, f.Before)
		if err != nil {
			return nil, err
		}
		return n.entry(h, f.Before, before, f.InPlace)
	}
	entry, err := n.entry(h, f.Name, now, f.InPlace)
	if err != nil {
		return nil, err
	}
	entry.Above = filepath.Dir(f.Name)
	for entry.Above != "/" && (!h.Exists(entry.Above) || n.made(entry.Above)) {
		entry.Above = filepath.Dir(entry.Above)
	}
	return entry, nil
}

// entry makes the entry of a path, and keeps a regular file; by a copy if it is written in place.
func (n *Note) entry(h *host.Host, name string, now state, inPlace bool) (*Entry, error) {
	entry := &Entry{Kind: now.kind, Mode: now.mode, UID: now.uid, GID: now.gid, Target: now.target}
	if now.kind != Regular {
		return entry, nil
	}
	entry.ModTime = now.modTime
	n.Copies++
	entry.Copy = fmt.Sprintf("%d-%s", n.Copies, filepath.Base(name))
	if err := h.MkdirAll(Dir, 0o700); err != nil {
		return nil, err
	}
	keep := h.Replace
	if inPlace {
		keep = h.ReplaceByCopy
	}
	if err := keep(name, filepath.Join(Dir, entry.Copy)); err != nil {
		return nil, err
	}
	var err error
	entry.SHA256, err = fileDigest(h, filepath.Join(Dir, entry.Copy))
	return entry, err
}

// keepEdited keeps the present file of a noted path when it is neither the original nor Argosy's, and returns its name.
// A file from before there was a note may have been edited or not, and is kept.
func (n *Note) keepEdited(h *host.Host, f File, entry *Entry, now state) (string, error) {
	if now.kind == Nothing || entry.Secret || f.Link != "" || f.Program && f.Ours != nil && f.Ours() {
		return "", nil
	}
	digest, err := now.digest(h, f.Name)
	if err != nil || entry.ours(digest) || digest == entry.content() || digest == f.digest() {
		return "", err
	}
	return keepBeside(h, f.Name, digest)
}

// KeepEdited keeps an edit of a noted path as Take does, before it is restored. It returns the name, "" when there is
// nothing to keep.
func (n *Note) KeepEdited(h *host.Host, f File) (string, error) {
	now, err := look(h, f.Name)
	if err != nil {
		return "", err
	}
	return n.keepEdited(h, f, n.Of(f.Name), now)
}

// keepBeside keeps a file or link under another name in its folder, which tells when, unless a file of the same
// content is kept there already. It returns the name.
func keepBeside(h *host.Host, name, digest string) (string, error) {
	others, _ := filepath.Glob(h.Path(name) + ".edited-*")
	for _, path := range others {
		other := filepath.Join(filepath.Dir(name), filepath.Base(path))
		now, err := look(h, other)
		if err != nil {
			continue
		}
		if got, err := now.digest(h, other); err == nil && got == digest {
			return other, nil
		}
	}
	stamped := name + ".edited-" + time.Now().UTC().Format("20060102T150405Z")
	kept := stamped
	for i := 2; h.Exists(kept); i++ {
		kept = fmt.Sprintf("%s-%d", stamped, i) // another edit of this second
	}
	now, err := look(h, name)
	if err != nil {
		return "", err
	}
	if now.kind == Symlink {
		return kept, link(h, &Entry{Target: now.target, UID: now.uid, GID: now.gid}, kept)
	}
	if err := h.Replace(name, kept); err != nil {
		return "", err
	}
	return kept, h.SyncFolders()
}

// ours reports whether Argosy wrote the content with this digest.
func (e *Entry) ours(digest string) bool { return slices.Contains(e.Written, digest) }

// NoteContainerd notes, durably, the containerd of before. Like every note it is made once.
func NoteContainerd(h *host.Host, had Containerd) error {
	note, err := Read(h)
	if err != nil || note.Containerd != nil {
		return err
	}
	note.Containerd = &had
	return note.write(h)
}
