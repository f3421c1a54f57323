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

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/join"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// Where what an upgrade replaces is kept: configuration in Argosy's own folder, and binaries on their own file system, where
// keeping one is a hard link.
const (
	keptFile = spec.Root + "/previous.json"
	keptDir  = spec.Root + "/previous"
)

func keptBinaries(j *spec.Join) string { return filepath.Join(layout.Store(j.BinariesPath), "kept") }

// kept is what a machine was before its last upgrade.
type kept struct {
	// Record of the machine before.
	Record spec.Record `json:"record"`
	// To is the bundle of the upgrade that it was kept for.
	To string `json:"to"`
	// Over: the upgrade was rolled back, so the next one keeps anew.
	Over  bool      `json:"over,omitempty"`
	Files []keptOne `json:"files"`
}

// keptOne is one file.
type keptOne struct {
	Name string `json:"name"`
	// Copy is where it is kept; empty for a file that was not there.
	Copy string      `json:"copy,omitempty"`
	Mode fs.FileMode `json:"mode,omitempty"`
	// Binary files are links, and are put back as links.
	Binary bool `json:"binary,omitempty"`
}

// readKept reads what was kept; nil when nothing was.
func readKept(h *host.Host) (*kept, error) {
	data, err := h.ReadFile(keptFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var known kept
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", keptFile, err)
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

// checkKeep holds while what was kept is what the machine was before it was touched:
//
//	the machine's record        what is kept                              holds
//	at the version wanted       any                                       yes: there is nothing to go back from
//	at another version          nothing                                   no
//	at another version          of this very record, and not rolled back  yes: an upgrade has begun, and is to be finished
//	at another version          of an earlier one, or rolled back         no
func checkKeep(_ context.Context, c *node.Context) (bool, string, error) {
	record, err := c.Store.Record()
	if err != nil {
		return false, "", err
	}
	known, err := readKept(c.Host)
	if err != nil {
		return false, "", err
	}
	j := c.Operation.Join
	switch {
	case record != nil && record.Version == j.KubernetesVersion && record.Bundle == j.Bundle.SHA256:
		return true, "the machine is at " + record.Version + " already", nil
	case record != nil && known != nil && !known.Over && known.Record == *record:
		return true, fmt.Sprintf("%d files of %s are kept", len(known.Files), known.Record.Version), nil
	}
	return false, "what is there has to be kept", nil
}

func applyKeep(_ context.Context, c *node.Context) (string, error) {
	record, err := c.Store.Record()
	if err != nil {
		return "", err
	}
	j := c.Operation.Join
	// What was kept before goes first: half of it under a new description would be worse than none.
	if err := c.Host.Remove(keptFile); err != nil {
		return "", err
	}
	for _, dir := range []string{keptDir, keptBinaries(j)} {
		if err := errors.Join(os.RemoveAll(c.Host.Path(dir)), os.MkdirAll(c.Host.Path(dir), 0o700)); err != nil {
			return "", fmt.Errorf("emptying %q: %w", dir, err)
		}
	}
	keeping := &kept{Record: *record, To: j.Bundle.SHA256}
	binaries, err := join.Binaries(c.Host, j)
	if err != nil {
		return "", err
	}
	configuration, err := configurationOf(c.Host)
	if err != nil {
		return "", err
	}
	for _, name := range binaries {
		if err := keeping.add(c.Host, name, filepath.Join(keptBinaries(j), strconv.Itoa(len(keeping.Files))), true); err != nil {
			return "", err
		}
	}
	for _, name := range configuration {
		if err := keeping.add(c.Host, name, filepath.Join(keptDir, strconv.Itoa(len(keeping.Files))), false); err != nil {
			return "", err
		}
	}
	if err := keeping.write(c.Host); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d files of %s kept", len(keeping.Files), record.Version), nil
}

// configurationOf are the files of a node, those of the kubelet's own folder included, that kubeadm writes there. The
// services' stamps come last, see applyRestore.
func configurationOf(h *host.Host) ([]string, error) {
	names := join.ConfigurationFiles()
	for _, known := range []string{layout.KubeletConfig, layout.KubeletFlags, layout.KubeletDir + "/instance-config.yaml"} {
		names = append(names, known)
	}
	entries, err := os.ReadDir(h.Path(layout.KubeletDir))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", layout.KubeletDir, err)
	}
	for _, entry := range entries {
		name := filepath.Join(layout.KubeletDir, entry.Name())
		if extension := filepath.Ext(name); entry.Type().IsRegular() && (extension == ".yaml" || extension == ".env") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return append(names, join.Stamp("containerd"), join.Stamp("kubelet"), spec.RecordFile), nil
}

// add keeps one file, as a link or as a copy; one that is not there is kept as such.
func (k *kept) add(h *host.Host, name, to string, binary bool) error {
	info, err := os.Lstat(h.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		k.Files = append(k.Files, keptOne{Name: name, Binary: binary})
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err == nil && binary {
		err = join.LinkOrCopy(h.Path(name), h.Path(to))
	} else if err == nil {
		var content []byte
		if content, err = h.ReadFile(name); err == nil {
			_, err = h.WriteFile(to, content, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("keeping %q: %w", name, err)
	}
	k.Files = append(k.Files, keptOne{Name: name, Copy: to, Mode: info.Mode().Perm(), Binary: binary})
	return nil
}
