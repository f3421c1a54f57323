package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/registry"
	"argosy.dev/argosy/pkg/node/spec"
)

// registryChanges are the differences of the registries' files. containerd reads them at each pull, so it is not
// restarted for them.
type registryChanges struct {
	// write are the files to write, by name.
	write map[string][]byte
	// remove are files of Argosy's that are no longer wanted.
	remove []string
}

func (c registryChanges) none() bool { return len(c.write)+len(c.remove) == 0 }

// note adds the differences to the phase's changes.
func (c registryChanges) note(n *node.Context) {
	for _, name := range slices.Sorted(maps.Keys(c.write)) {
		n.AddChanges(node.FileChange(n.Host, name, c.write[name], spec.NoRestart))
	}
	for _, name := range c.remove {
		n.AddChanges(node.FileRemoval(n.Host, name, spec.NoRestart))
	}
}

func (c registryChanges) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(c.write)) {
		parts = append(parts, name+" has to be written")
	}
	for _, name := range c.remove {
		parts = append(parts, name+" has to be removed")
	}
	return strings.Join(parts, ", ")
}

// changedRegistries compares the files in their folder, and finds those that an earlier join wrote elsewhere.
func changedRegistries(h *host.Host, wanted spec.Registry) registryChanges {
	files := registry.Files(wanted)
	changes := registryChanges{write: map[string][]byte{}}
	for name, content := range files {
		if !h.Holds(name, content) {
			changes.write[name] = content
		}
	}
	for _, name := range registry.Written(h, append(registry.Folders(h), registry.Folder(wanted))...) {
		if files[name] == nil {
			changes.remove = append(changes.remove, name)
		}
	}
	return changes
}

func checkRegistries(_ context.Context, c *node.Context) (bool, string, error) {
	j := c.Operation.Join
	if j.Containerd.External {
		return true, externalRegistries(c.Operation), nil
	}
	if err := missingAuthorities(c.Host, j.Containerd.Registry); err != nil {
		// The user's own commands may install them; the phase is checked again after those.
		if len(j.Hooks.PreInstall) > 0 {
			return false, err.Error(), nil
		}
		return false, "", err
	}
	if changes := changedRegistries(c.Host, j.Containerd.Registry); !changes.none() {
		changes.note(c)
		return false, changes.String(), nil
	}
	if len(j.Containerd.Registry.Mirrors) == 0 {
		return true, "no registry has settings of its own", nil
	}
	registries := count.Of(len(j.Containerd.Registry.Mirrors), "registry")
	return true, fmt.Sprintf("%s have their settings in %s", registries, registry.Folder(j.Containerd.Registry)), nil
}

// externalRegistries returns a remark on settings that a runtime that is not Argosy's does not get.
func externalRegistries(op *spec.Operation) string {
	if len(op.Join.Containerd.Registry.Mirrors)+len(op.Secrets.Registries) == 0 {
		return "the runtime that was there has settings of its own"
	}
	return "the runtime that was there keeps settings of its own: mirrors and logins of the documents are not written"
}

func applyRegistries(_ context.Context, c *node.Context) (string, error) {
	wanted := c.Operation.Join.Containerd.Registry
	if err := missingAuthorities(c.Host, wanted); err != nil {
		return "", err
	}
	changes := changedRegistries(c.Host, wanted)
	files := make([]file, 0, len(changes.write))
	for _, name := range slices.Sorted(maps.Keys(changes.write)) {
		files = append(files, file{name: name, content: changes.write[name]})
	}
	edited, err := take(c.Host, files...)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if _, err := c.Host.WriteFile(f.name, f.content, f.mode()); err != nil {
			return "", err
		}
	}
	for _, name := range changes.remove {
		kept, err := restoreOriginal(c.Host, name)
		if err != nil {
			return "", err
		}
		if kept != "" {
			edited = append(edited, kept)
		}
	}
	return fmt.Sprintf("%d written, %d removed%s", len(changes.write), len(changes.remove), keptAs(edited)), nil
}

// restoreOriginal restores the original of a file that Argosy wrote, or removes the file, and its folder when it is
// empty then. It returns the name under which an edit is kept.
func restoreOriginal(h *host.Host, name string) (edited string, err error) {
	noted, edited, err := original.Release(h, name)
	if noted || err != nil {
		return edited, err
	}
	// It was written by a version that kept no note.
	err = h.Rename(name+layout.KeptSuffix, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = h.Remove(name)
		// A folder that holds something else stays.
		_ = h.RemoveOne(filepath.Dir(name))
	}
	return "", err
}

// missingAuthorities returns an error that names the certificate authorities that are not on the machine: with one of
// them missing, containerd refuses every pull from that registry.
func missingAuthorities(h *host.Host, wanted spec.Registry) error {
	var problems []string
	for _, name := range registry.Authorities(wanted) {
		if info, err := os.Stat(h.Path(name)); err != nil || info.IsDir() {
			problems = append(problems, fmt.Sprintf("The certificate authority %s, which registry.mirrors names, is "+
				"not on the machine; put it there, for instance by preInstallCommands.", name))
		}
	}
	return node.Problems(errclass.Permanent, "registries cannot be set up", problems)
}
