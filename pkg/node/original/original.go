// Package original notes the original of a path, before Argosy first changes it, and restores it: a file with its
// owner, mode and time, a symbolic link, or nothing. It never overwrites an original, and it removes nothing that
// neither Argosy wrote nor the note has.
package original

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

const (
	// Dir holds the note and the files that stood at the noted paths.
	Dir = spec.Root + "/original"
	// indexFile is the note itself.
	indexFile = Dir + "/index.json"
)

// Kind is the kind of an original.
type Kind string

// The kinds.
const (
	Nothing Kind = "nothing"
	Regular Kind = "file"
	Symlink Kind = "link"
)

// Entry is the note of one path.
type Entry struct {
	Kind Kind `json:"kind"`
	// Copy is the file in Dir that has the content; for Regular.
	Copy string `json:"copy,omitempty"`
	// SHA256 of the content, hex; for Regular.
	SHA256 string      `json:"sha256,omitempty"`
	Mode   fs.FileMode `json:"mode,omitempty"`
	UID    int         `json:"uid,omitempty"`
	GID    int         `json:"gid,omitempty"`
	// ModTime is when the content was changed last; for Regular.
	ModTime time.Time `json:"modTime,omitzero"`
	// Target is where the link led; for Symlink.
	Target string `json:"target,omitempty"`
	// Above is the nearest folder that was there before Argosy; empty when that is not known.
	Above string `json:"above,omitempty"`
	// Program and Secret are those of File.
	Program bool `json:"program,omitempty"`
	Secret  bool `json:"secret,omitempty"`
	// Written are the digests of the contents that Argosy wrote there, the latest first; of a link "-> target".
	Written []string `json:"written,omitempty"`
	// Released is set when the path was restored while the machine stays a node, so that the next change notes it anew.
	Released bool `json:"released,omitempty"`
}

// written bounds Entry.Written: an upgrade and its rollback need two.
const written = 8

// Note has the originals of all paths.
type Note struct {
	// Entries are by path.
	Entries map[string]*Entry `json:"entries"`
	// Copies counts the copies that were ever made, so that no two have one name.
	Copies int `json:"copies"`
	// Containerd describes the containerd of before; nil when none was noted.
	Containerd *Containerd `json:"containerd,omitempty"`
}

// Containerd describes the containerd that a machine had before Argosy set up its own.
type Containerd struct {
	// Active is set when containerd.service was running.
	Active bool `json:"active,omitempty"`
	// Data are its folders that had something in them, such as images.
	Data []string `json:"data,omitempty"`
}

// Read returns the note; an empty one when nothing was noted. Its error wraps node.ErrUnreadable when there is one
// that cannot be read: then nothing that it may tell of is to be changed.
func Read(h *host.Host) (*Note, error) {
	note := &Note{Entries: map[string]*Entry{}}
	err := node.ReadState(h, indexFile, note)
	if errors.Is(err, fs.ErrNotExist) {
		return note, nil
	}
	if err != nil {
		return nil, err
	}
	if note.Entries == nil {
		note.Entries = map[string]*Entry{}
	}
	return note, nil
}

// write has the note on the disk, after the copies that it tells of.
func (n *Note) write(h *host.Host) error {
	if err := h.SyncFolders(); err != nil {
		return err
	}
	data, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("writing %q: %w", indexFile, err)
	}
	if err := h.MkdirAll(Dir, 0o700); err != nil {
		return err
	}
	if _, err := h.WriteFile(indexFile, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return h.SyncFolders()
}

// Of returns the entry of a path; nil when it is not noted, or was restored.
func (n *Note) Of(name string) *Entry {
	if entry := n.Entries[name]; entry != nil && !entry.Released {
		return entry
	}
	return nil
}

// Names are the noted paths in their order, without those that were restored.
func (n *Note) Names() []string {
	var names []string
	for name, entry := range n.Entries {
		if !entry.Released {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// HadFolder reports whether a folder was there before Argosy put anything into it, so that it stays when it is empty.
func (n *Note) HadFolder(dir string) bool {
	for name, entry := range n.Entries {
		if beneath(dir, name) && (entry.Above == dir || beneath(dir, entry.Above)) {
			return true
		}
	}
	return false
}

// made reports whether Argosy made a folder.
func (n *Note) made(dir string) bool {
	for name, entry := range n.Entries {
		if beneath(dir, name) && beneath(entry.Above, dir) {
			return true
		}
	}
	return false
}

func beneath(dir, name string) bool {
	return dir != "" && dir != name && strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}
