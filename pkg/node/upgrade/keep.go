package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/join"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// An upgrade keeps the files that it replaces: configuration in Argosy's own folder, and binaries as hard links on
// their own file system.
const (
	keptFile = spec.PreviousFile
	keptDir  = spec.Root + "/previous"
)

func keptBinaries(j *spec.Join) string { return filepath.Join(layout.Store(j.BinariesPath), "kept") }

// kept describes a machine before its last upgrade, with the files that were kept.
type kept struct {
	// Record of the machine before.
	Record spec.Record `json:"record"`
	// To is the bundle of the upgrade.
	To string `json:"to"`
	// Restart are the services that have to be restarted with the restored files.
	Restart []string `json:"restart,omitempty"`
	// Over: the upgrade was rolled back, so the next one keeps anew.
	Over  bool      `json:"over,omitempty"`
	Files []keptOne `json:"files"`

	// logins are those of the operation that reads it.
	logins map[string]spec.RegistryLogin
}

// keptOne is one file.
type keptOne struct {
	Name string `json:"name"`
	// Copy is where it is kept; empty for a file that was not there.
	Copy string      `json:"copy,omitempty"`
	Mode fs.FileMode `json:"mode,omitempty"`
	// Target is where a symbolic link leads; empty for a file.
	Target string `json:"target,omitempty"`
	// Binary files are links, and are restored as links.
	Binary bool `json:"binary,omitempty"`
	// NoFolder: the file's folder was not there either.
	NoFolder bool `json:"noFolder,omitempty"`
}

// readKept reads the description of kept files; nil when there is none. A damaged one gives node.ErrUnreadable.
func readKept(h *host.Host) (*kept, error) {
	var known kept
	err := node.ReadState(h, keptFile, &known)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && known.Record == (spec.Record{}) {
		err = fmt.Errorf("reading %q: %w: it names no node", keptFile, node.ErrUnreadable)
	}
	if err != nil {
		return nil, err
	}
	return &known, nil
}

func (k *kept) write(h *host.Host) error {
	data, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("writing %q: %w", keptFile, err)
	}
	_, err = h.WriteFile(keptFile, append(data, '\n'), 0o600)
	return err
}

// begun reports whether an upgrade of the machine with this record has begun, so that the kept files are those from
// before it.
func (k *kept) begun(record *spec.Record) bool {
	return k != nil && record != nil && !k.Over && k.Record == *record
}

// checkKeep holds while the kept files are those from before the upgrade:
//
//	the machine's record        kept files                                holds
//	at the version wanted       any                                       yes: there is nothing to go back from
//	at another version          nothing                                   no
//	at another version          of this very record, and not rolled back  yes: an upgrade has begun, to be finished
//	                            but not all that this upgrade replaces    no: the untouched rest is kept as well
//	at another version          of an earlier one, or rolled back         no
//	at another version          not known, its description is damaged     no; an error once an upgrade has begun
func checkKeep(_ context.Context, c *node.Context) (bool, string, error) {
	record, err := c.Store.Record()
	if err != nil {
		return false, "", err
	}
	j := c.Operation.Join
	if record != nil && record.Version == j.KubernetesVersion && record.Bundle == j.Bundle.SHA256 {
		return true, "the machine is at " + record.Version + " already", nil
	}
	known, err := readKeptOrNone(c, record)
	switch {
	case err != nil:
		return false, "", err
	case known.begun(record) && known.To == j.Bundle.SHA256:
		lacks, err := known.lacks(c.Host, j)
		if err == nil && len(lacks) == 0 {
			return true, fmt.Sprintf("%s of %s kept", count.Of(len(known.Files), "file"), known.Record.Version), nil
		}
	}
	return false, "the present files have to be kept", nil
}

// readKeptOrNone returns the description of kept files. A damaged one counts as none while the machine is as its record
// has it: then nothing is lost.
func readKeptOrNone(c *node.Context, record *spec.Record) (*kept, error) {
	known, err := readKept(c.Host)
	if !errors.Is(err, node.ErrUnreadable) {
		return known, err
	}
	untouched, asked := join.Untouched(c, record)
	if asked != nil {
		return nil, errors.Join(err, asked)
	}
	if untouched {
		fmt.Fprintf(c.Log, "keeping the present files again: %v\n", err)
		return nil, nil
	}
	return nil, &node.Failure{
		Err:  fmt.Errorf("an upgrade of the machine has begun, and its former state is unknown: %w", err),
		Hint: "reset the machine (argosy reset) and join it anew",
	}
}

func applyKeep(_ context.Context, c *node.Context) (string, error) {
	record, err := c.Store.Record()
	if err != nil {
		return "", err
	}
	keeping, err := readKeptOrNone(c, record)
	if err != nil {
		return "", err
	}
	j := c.Operation.Join
	if !keeping.begun(record) {
		if keeping, err = startKeeping(c.Host, j, record); err != nil {
			return "", err
		}
	}
	// An upgrade to another bundle was interrupted: its originals are kept, and this one may replace more files.
	keeping.To = j.Bundle.SHA256
	lacks, err := keeping.lacks(c.Host, j)
	if err != nil {
		return "", err
	}
	for _, one := range lacks {
		if err := keeping.add(c.Host, j, one); err != nil {
			return "", err
		}
	}
	if err := keeping.writeSynced(c.Host); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s of %s kept", count.Of(len(keeping.Files), "file"), record.Version), nil
}

// writeSynced writes the description after syncing the kept files, before anything is replaced, so that a machine that
// loses power can be rolled back.
func (k *kept) writeSynced(h *host.Host) error {
	if err := h.SyncFolders(); err != nil {
		return err
	}
	if err := k.write(h); err != nil {
		return err
	}
	return h.SyncFolders()
}

// startKeeping removes files kept for earlier upgrades and keeps the kubelet's own files, which must be unchanged at
// this time.
func startKeeping(h *host.Host, j *spec.Join, record *spec.Record) (*kept, error) {
	// The description is removed first: with half of its files it would be worse than none.
	if err := errors.Join(h.Remove(keptFile), h.SyncFolders()); err != nil {
		return nil, err
	}
	for _, dir := range []string{keptDir, keptBinaries(j)} {
		if err := errors.Join(h.RemoveAll(dir), h.MkdirAll(dir, 0o700)); err != nil {
			return nil, fmt.Errorf("emptying %q: %w", dir, err)
		}
	}
	keeping := &kept{Record: *record}
	names, err := kubeletFiles(h)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := keeping.add(h, j, keptOne{Name: name}); err != nil {
			return nil, err
		}
	}
	return keeping, nil
}

// kubeletFiles returns the files that kubeadm writes to the kubelet's own folder, whether they exist or not.
func kubeletFiles(h *host.Host) ([]string, error) {
	names := []string{layout.KubeletConfig, layout.KubeletFlags, layout.KubeletDir + "/instance-config.yaml"}
	entries, err := os.ReadDir(h.Path(layout.KubeletDir))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", layout.KubeletDir, err)
	}
	for _, entry := range entries {
		name := filepath.Join(layout.KubeletDir, entry.Name())
		if extension := filepath.Ext(name); entry.Type().IsRegular() && (extension == ".yaml" || extension == ".env") &&
			!slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// lacks returns the files that the upgrade replaces and that are not kept yet.
func (k *kept) lacks(h *host.Host, j *spec.Join) ([]keptOne, error) {
	binaries, err := join.Binaries(h, j)
	if err != nil {
		return nil, err
	}
	var all []keptOne
	for _, name := range binaries {
		all = append(all, keptOne{Name: name, Binary: true})
	}
	for _, name := range append(join.ConfigurationFiles(h, j), join.Stamp("containerd"), join.Stamp("kubelet")) {
		all = append(all, keptOne{Name: name})
	}
	return slices.DeleteFunc(all, func(one keptOne) bool { return k.find(one.Name) != nil }), nil
}

// find returns the kept file of this name; nil when there is none.
func (k *kept) find(name string) *keptOne {
	at := slices.IndexFunc(k.Files, func(one keptOne) bool { return one.Name == name })
	if at < 0 {
		return nil
	}
	return &k.Files[at]
}

// add keeps one file, as a link or as a copy; one that is not there is kept as such.
func (k *kept) add(h *host.Host, j *spec.Join, one keptOne) error {
	info, err := os.Lstat(h.Path(one.Name))
	if errors.Is(err, fs.ErrNotExist) {
		one.NoFolder = !h.Exists(filepath.Dir(one.Name))
		k.Files = append(k.Files, one)
		return nil
	}
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if one.Target, err = os.Readlink(h.Path(one.Name)); err == nil {
			k.Files = append(k.Files, one)
			return nil
		}
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is neither a file nor a link")
	}
	if err == nil {
		one.Mode = info.Mode().Perm()
		err = one.keep(h, j, strconv.Itoa(len(k.Files)))
	}
	if err != nil {
		return fmt.Errorf("keeping %q: %w", one.Name, err)
	}
	k.Files = append(k.Files, one)
	return nil
}

// keep makes the copy, under this name in the folder for its kind.
func (k *keptOne) keep(h *host.Host, j *spec.Join, as string) error {
	if k.Binary {
		k.Copy = filepath.Join(keptBinaries(j), as)
		return h.Replace(k.Name, k.Copy)
	}
	content, err := h.ReadFile(k.Name)
	if err == nil && k.Name == layout.RegistryLogins {
		content, err = join.WithoutLogins(content)
	}
	if err != nil {
		return err
	}
	k.Copy = filepath.Join(keptDir, as)
	_, err = h.WriteFile(k.Copy, content, 0o600)
	return err
}
