package original

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
)

const (
	path    = "/etc/containerd/config.toml"
	content = "# the owner's\n"
	ours    = "# Argosy's\n"
)

var longAgo = time.Date(2020, 2, 3, 4, 5, 6, 789, time.UTC)

// machine is a folder that looks like one.
func machine(t *testing.T) *host.Host { return &host.Host{Root: t.TempDir()} }

func write(t *testing.T, h *host.Host, name, text string, mode fs.FileMode) {
	t.Helper()
	assert.NilError(t, os.MkdirAll(filepath.Dir(h.Path(name)), 0o755))
	assert.NilError(t, os.RemoveAll(h.Path(name)))
	assert.NilError(t, os.WriteFile(h.Path(name), []byte(text), 0o600))
	assert.NilError(t, os.Chmod(h.Path(name), mode))
	assert.NilError(t, os.Chtimes(h.Path(name), longAgo, longAgo))
}

// argosy writes Argosy's content of a path, as a phase does.
func argosy(t *testing.T, h *host.Host, name, text string) []string {
	t.Helper()
	edited, err := Take(h, File{Name: name, SHA256: DigestOf([]byte(text))})
	assert.NilError(t, err)
	_, err = h.WriteFile(name, []byte(text), 0o644)
	assert.NilError(t, err)
	return edited
}

// restoreAll restores everything as a reset does, and returns the paths at which something else stands.
func restoreAll(t *testing.T, h *host.Host) []string {
	t.Helper()
	note, err := Read(h)
	assert.NilError(t, err)
	var foreign []string
	for _, name := range note.Names() {
		standing, err := note.Stands(h, name, nil)
		assert.NilError(t, err)
		switch standing {
		case Ours:
			assert.NilError(t, note.Restore(h, name))
			standing, err = note.Stands(h, name, nil)
			assert.NilError(t, err)
			assert.Equal(t, standing, Original, name)
		case Foreign:
			foreign = append(foreign, name)
		}
	}
	return foreign
}

// looks is all that a path looks like.
func looks(t *testing.T, h *host.Host, name string) string {
	t.Helper()
	now, err := look(h, name)
	assert.NilError(t, err)
	digest, err := now.digest(h, name)
	assert.NilError(t, err)
	text := strings.Join([]string{string(now.kind), now.mode.String(), digest, now.target}, " ")
	if now.kind == Regular {
		text += now.modTime.String()
	}
	if now.kind != Nothing {
		text += string(rune('0'+now.uid%10)) + string(rune('0'+now.gid%10))
	}
	return text
}

func TestWhatStoodAtAPathComesBackExactly(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, h *host.Host){
		"nothing":               func(*testing.T, *host.Host) {},
		"a file":                func(t *testing.T, h *host.Host) { write(t, h, path, content, 0o640) },
		"an empty file":         func(t *testing.T, h *host.Host) { write(t, h, path, "", 0o600) },
		"a program with setuid": func(t *testing.T, h *host.Host) { write(t, h, path, content, 0o755|fs.ModeSetuid) },
		"another owner's file": func(t *testing.T, h *host.Host) {
			write(t, h, path, content, 0o644)
			if os.Geteuid() == 0 {
				assert.NilError(t, os.Chown(h.Path(path), 1, 2))
			}
		},
		"a link": func(t *testing.T, h *host.Host) {
			write(t, h, "/srv/config.toml", content, 0o644)
			assert.NilError(t, h.Link("/srv/config.toml", path))
		},
		"a link to nowhere": func(t *testing.T, h *host.Host) { assert.NilError(t, h.Link("/dev/null", path)) },
	} {
		t.Run(name, func(t *testing.T) {
			h := machine(t)
			before(t, h)
			was := looks(t, h, path)
			assert.Equal(t, len(argosy(t, h, path, ours)), 0)
			assert.Assert(t, h.Holds(path, []byte(ours)))
			assert.Equal(t, len(argosy(t, h, path, ours+"newer")), 0)
			assert.Equal(t, len(restoreAll(t, h)), 0)
			assert.Equal(t, looks(t, h, path), was)
			assert.Equal(t, len(restoreAll(t, h)), 0, "restoring twice")
			assert.Equal(t, looks(t, h, path), was)
		})
	}
}

func TestWhatIsKeptOnAnotherFileSystemComesBackExactly(t *testing.T) {
	other, err := os.MkdirTemp("/dev/shm", "argosy")
	if err != nil {
		other = t.TempDir() // then it is only a link
	}
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	h := machine(t)
	assert.NilError(t, os.MkdirAll(filepath.Dir(h.Path(Dir)), 0o755))
	assert.NilError(t, os.Symlink(other, h.Path(Dir)))
	write(t, h, path, content, 0o755|fs.ModeSetuid)
	if os.Geteuid() == 0 {
		assert.NilError(t, os.Chown(h.Path(path), 1, 2))
		assert.NilError(t, os.Chmod(h.Path(path), 0o755|fs.ModeSetuid))
	}
	assert.NilError(t, os.Chtimes(h.Path(path), longAgo, longAgo))
	was := looks(t, h, path)
	argosy(t, h, path, ours)
	assert.Equal(t, len(restoreAll(t, h)), 0)
	assert.Equal(t, looks(t, h, path), was)
}

func TestTheFirstNoteIsNeverOverwritten(t *testing.T) {
	h := machine(t)
	write(t, h, path, content, 0o600)
	argosy(t, h, path, ours)
	write(t, h, path, "# by another program\n", 0o644)
	edited := argosy(t, h, path, ours)
	assert.Equal(t, len(edited), 1)
	assert.Assert(t, strings.HasPrefix(edited[0], path+".edited-"), edited[0])
	assert.Assert(t, h.Holds(edited[0], []byte("# by another program\n")))

	write(t, h, path, "# by another program\n", 0o644)
	assert.DeepEqual(t, argosy(t, h, path, ours), edited) // the same edit, every night, is kept once
	for _, other := range []string{"# another edit\n", "# and another one\n"} {
		write(t, h, path, other, 0o644)
		another := argosy(t, h, path, ours)
		assert.Assert(t, len(another) == 1 && h.Holds(another[0], []byte(other)), "%v", another)
	}
	assert.Assert(t, h.Holds(edited[0], []byte("# by another program\n")))
	restoreAll(t, h)
	assert.Assert(t, h.Holds(path, []byte(content)))
}

func TestAJoinAfterAResetNotesAnew(t *testing.T) {
	h := machine(t)
	for _, before := range []string{content, "# the owner's, for the second join\n"} {
		write(t, h, path, before, 0o600)
		was := looks(t, h, path)
		argosy(t, h, path, ours)
		assert.Equal(t, len(restoreAll(t, h)), 0)
		assert.Equal(t, looks(t, h, path), was)
		assert.NilError(t, h.RemoveAll(Dir)) // as a reset forgets it
	}
}

func TestAnEditOfASecretFileIsNotKept(t *testing.T) {
	h := machine(t)
	logins := File{Name: path, SHA256: DigestOf([]byte(ours)), Secret: true}
	_, err := Take(h, logins)
	assert.NilError(t, err)
	write(t, h, path, "password", 0o600)
	edited, err := Take(h, logins)
	assert.NilError(t, err)
	assert.Equal(t, len(edited), 0)
	_, _, err = Release(h, path)
	assert.NilError(t, err)
	entries, err := os.ReadDir(h.Path(filepath.Dir(path)))
	assert.Assert(t, errors.Is(err, fs.ErrNotExist), "%v", entries)
}

func TestWhatSomebodyElsePutThereSinceStays(t *testing.T) {
	for name, after := range map[string]func(t *testing.T, h *host.Host){
		"a file":   func(t *testing.T, h *host.Host) { write(t, h, path, "# another's\n", 0o644) },
		"a link":   func(t *testing.T, h *host.Host) { assert.NilError(t, h.Link("/srv/another", path)) },
		"a folder": func(t *testing.T, h *host.Host) { assert.NilError(t, os.Mkdir(h.Path(path), 0o755)) },
	} {
		t.Run(name, func(t *testing.T) {
			h := machine(t)
			write(t, h, path, content, 0o644)
			argosy(t, h, path, ours)
			assert.NilError(t, os.Remove(h.Path(path)))
			after(t, h)
			assert.DeepEqual(t, restoreAll(t, h), []string{path})
			assert.Assert(t, h.Exists(path) && !h.Holds(path, []byte(content)))
		})
	}
}

func TestAFileThatWasRemovedSinceComesBack(t *testing.T) {
	h := machine(t)
	write(t, h, path, content, 0o644)
	argosy(t, h, path, ours)
	assert.NilError(t, os.Remove(h.Path(path)))
	restoreAll(t, h)
	assert.Assert(t, h.Holds(path, []byte(content)))
}

func TestOnlyFoldersThatArgosyMadeGo(t *testing.T) {
	h := machine(t)
	assert.NilError(t, os.MkdirAll(h.Path("/opt/cni"), 0o755))
	argosy(t, h, "/opt/cni/bin/deep/bridge", ours)
	argosy(t, h, "/opt/cni/bin/loopback", ours)
	note, err := Read(h)
	assert.NilError(t, err)
	for dir, had := range map[string]bool{
		"/opt": true, "/opt/cni": true, "/opt/cni/bin": false, "/opt/cni/bin/deep": false,
	} {
		assert.Equal(t, note.HadFolder(dir), had, dir)
	}
	restoreAll(t, h)
	assert.Assert(t, h.Exists("/opt/cni") && !h.Exists("/opt/cni/bin"))
}

func TestAPathThatWasReleasedIsNotedAnew(t *testing.T) {
	h := machine(t)
	write(t, h, path, content, 0o644)
	argosy(t, h, path, ours)
	noted, edited, err := Release(h, path)
	assert.NilError(t, err)
	assert.Assert(t, noted && edited == "" && h.Holds(path, []byte(content)))
	noted, _, err = Release(h, path)
	assert.NilError(t, err)
	assert.Assert(t, !noted)

	write(t, h, path, "# newer\n", 0o600)
	argosy(t, h, path, ours)
	restoreAll(t, h)
	assert.Assert(t, h.Holds(path, []byte("# newer\n")))
}

func TestOlderVersionsOriginalsAreTakenOverOnce(t *testing.T) {
	yes := func() bool { return true }
	for name, test := range map[string]struct {
		before bool
		left   string
	}{"with a kept file": {true, content}, "without": {false, ""}} {
		t.Run(name, func(t *testing.T) {
			h := machine(t)
			write(t, h, path, ours, 0o644)
			if test.before {
				write(t, h, path+".before-argosy", content, 0o600)
			}
			_, err := Take(h, File{
				Name: path, SHA256: DigestOf([]byte(ours)), Ours: yes, Before: path + ".before-argosy",
			})
			assert.NilError(t, err)
			assert.Assert(t, !h.Exists(path+".before-argosy"))
			restoreAll(t, h)
			if test.before {
				assert.Assert(t, h.Holds(path, []byte(content)))
			} else {
				assert.Assert(t, !h.Exists(path))
			}
		})
	}
}

func TestANoteThatCannotBeReadStopsEveryChange(t *testing.T) {
	h := machine(t)
	write(t, h, indexFile, "", 0o600)
	_, err := Take(h, File{Name: path})
	assert.ErrorIs(t, err, node.ErrUnreadable)
	_, _, err = Release(h, path)
	assert.ErrorIs(t, err, node.ErrUnreadable)
}

func TestOlderOriginalStaysWhenOwnerReplacedTheFile(t *testing.T) {
	h := machine(t)
	const kept = path + ".before-argosy"
	write(t, h, path, "# the owner's newer one\n", 0o644)
	write(t, h, kept, content, 0o600)
	for range 2 {
		for _, text := range []string{ours, ours + "# another version\n"} {
			file := File{Name: path, SHA256: DigestOf([]byte(text)), Ours: func() bool { return false }, Before: kept}
			_, err := Take(h, file)
			assert.NilError(t, err)
			write(t, h, path, text, 0o644)
			assert.Assert(t, h.Holds(kept, []byte(content)))
		}
	}
	restoreAll(t, h)
	assert.Assert(t, h.Holds(path, []byte("# the owner's newer one\n")) && h.Holds(kept, []byte(content)))
}

func TestEmptyOriginalIsNotTakenForALostFile(t *testing.T) {
	h := machine(t)
	write(t, h, path, "", 0o644)
	argosy(t, h, path, ours)
	note, err := Read(h)
	assert.NilError(t, err)
	// A copy that is no second name, as on another file system.
	write(t, h, filepath.Join(Dir, note.Of(path).Copy), "", 0o644)
	write(t, h, path, "", 0o644)
	standing, err := note.Stands(h, path, func() bool { return true })
	assert.NilError(t, err)
	assert.Equal(t, standing, Original)
}

func TestNoteIsSyncedBeforeThePathIsChanged(t *testing.T) {
	h := machine(t)
	write(t, h, path, content, 0o644)
	var changes []string
	h.Before = func(c host.Change) error {
		changes = append(changes, string(c.Op)+" "+c.Name)
		return nil
	}
	argosy(t, h, path, ours)
	at := func(change string) int {
		for i, one := range changes {
			if one == change {
				return i
			}
		}
		t.Fatalf("%s is not among %v", change, changes)
		return 0
	}
	kept, index := at("rename "+Dir+"/1-config.toml"), at("rename "+indexFile)
	assert.Assert(t, kept < index && index < at("rename "+path))
	synced := 0
	for _, change := range changes[kept:at("rename "+path)] {
		if change == "sync "+Dir {
			synced++
		}
	}
	assert.Equal(t, synced, 2, "%v", changes) // before the note that tells of the copy, and after
}

func TestInterruptedTakeIsFinishedByTheNext(t *testing.T) {
	errCut := errors.New("cut off")
	for cut := 0; ; cut++ {
		h := machine(t)
		write(t, h, path, content, 0o640)
		was := looks(t, h, path)
		left := cut
		h.Before = func(host.Change) error {
			if left--; left < 0 {
				return errCut
			}
			return nil
		}
		_, err := Take(h, File{Name: path, SHA256: DigestOf([]byte(ours))})
		if err == nil {
			_, err = h.WriteFile(path, []byte(ours), 0o644)
		}
		whole := err == nil
		h.Before = nil
		argosy(t, h, path, ours)
		restoreAll(t, h)
		assert.Equal(t, looks(t, h, path), was, "cut after %d changes", cut)
		if whole {
			return
		}
	}
}
