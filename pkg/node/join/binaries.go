package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// programs are installed where the bundle has them; a bundle of before Kubernetes 1.31 needs its crictl.
var programs = []string{"kubeadm", "kubelet", "kubectl", "crictl"}

// runtimePrograms are containerd and what it consists of.
var runtimePrograms = []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc"}

// programsOf are those that a machine gets: none of the container runtime's where it has one of its own.
func programsOf(j *spec.Join) []string {
	if j.Containerd.External {
		return programs
	}
	return slices.Concat(programs, runtimePrograms)
}

// install is one file to put in place, both as paths on the machine.
type install struct{ from, to string }

func installs(h *host.Host, j *spec.Join) ([]install, error) {
	var all []install
	for _, name := range programsOf(j) {
		if from := release(j, name); h.Exists(from) {
			all = append(all, install{from, program(j, name)})
		}
	}
	plugins := release(j, "cni/bin")
	entries, err := os.ReadDir(h.Path(plugins))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %q: %w", plugins, err)
	}
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			all = append(all, install{filepath.Join(plugins, entry.Name()), filepath.Join(j.CNIBinariesPath, entry.Name())})
		}
	}
	return all, nil
}

func checkBinaries(_ context.Context, c *node.Context) (bool, string, error) {
	j := c.Operation.Join
	all, err := installs(c.Host, j)
	if err != nil {
		return false, "", err
	}
	wanted := 0
	for _, one := range all {
		if !installed(c.Host, one) {
			wanted++
			c.Differs(spec.Change{What: "binary " + one.to, Effect: effectOf(one)})
		}
	}
	if len(all) == 0 || wanted > 0 {
		return false, fmt.Sprintf("kubelet %s and its companions have to be installed in %s", j.KubernetesVersion, j.BinariesPath), nil
	}
	return true, fmt.Sprintf("%d binaries are installed, kubelet %s", len(all), j.KubernetesVersion), nil
}

// effectOf is what putting a binary in place does, once the phases of its service follow.
func effectOf(one install) spec.Effect {
	switch filepath.Base(one.to) {
	case "kubelet":
		return spec.RestartsKubelet
	case "containerd":
		return spec.RestartsContainerd
	}
	return spec.NoRestart
}

func installed(h *host.Host, one install) bool { return SameFile(h.Path(one.from), h.Path(one.to)) }

// SameFile says whether what was linked or copied is still the same, by inode, or by size and time where it had to be copied.
func SameFile(original, linked string) bool {
	from, err := os.Stat(original)
	if err != nil {
		return false
	}
	to, err := os.Lstat(linked)
	if err != nil {
		return false
	}
	return os.SameFile(from, to) || to.Mode().IsRegular() && to.Size() == from.Size() && to.ModTime().Equal(from.ModTime())
}

func applyBinaries(_ context.Context, c *node.Context) (string, error) {
	all, err := installs(c.Host, c.Operation.Join)
	if err != nil {
		return "", err
	}
	changed := 0
	for _, one := range all {
		if installed(c.Host, one) {
			continue
		}
		if err := put(c.Host, one, c.Operation.Join.BinariesPath); err != nil {
			return "", err
		}
		changed++
	}
	return fmt.Sprintf("%d binaries installed", changed), nil
}

// put installs one file, and keeps what the machine's owner had there before. What a bundle brought is no owner's, and must not
// take the place of what was kept.
func put(h *host.Host, one install, binariesPath string) error {
	previous := layout.Previous(binariesPath)
	if err := h.MkdirAll(previous, 0o755); err != nil {
		return err
	}
	if !bundled(h, one.to, binariesPath) {
		if err := keep(h, one.to, filepath.Join(previous, filepath.Base(one.to))); err != nil {
			return fmt.Errorf("keeping the previous %q: %w", one.to, err)
		}
	}
	if err := h.Replace(one.from, one.to); err != nil {
		return fmt.Errorf("installing %q: %w", one.to, err)
	}
	return nil
}

// bundled says whether a file came from one of the bundles on the machine.
func bundled(h *host.Host, file, binariesPath string) bool {
	for _, name := range []string{filepath.Base(file), "cni/bin/" + filepath.Base(file)} {
		candidates, _ := filepath.Glob(h.Path(filepath.Join(layout.Store(binariesPath), "*", "release", name)))
		if slices.ContainsFunc(candidates, func(candidate string) bool { return SameFile(candidate, h.Path(file)) }) {
			return true
		}
	}
	return false
}

// keep puts what is at file also at backup, by hard link where that is possible.
func keep(h *host.Host, file, backup string) error {
	info, err := os.Lstat(h.Path(file))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	if err := h.Replace(file, backup); err != nil {
		return err
	}
	// The kept name has to be on the disk before the file loses its own.
	return h.SyncFolders()
}
