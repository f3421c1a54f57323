package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/bundle"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// programs are installed where the bundle has them; a bundle of before Kubernetes 1.31 needs its crictl.
var programs = []string{"kubeadm", "kubelet", "kubectl", "crictl"}

// runtimePrograms are containerd's programs and runc.
var runtimePrograms = []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc"}

// programsOf returns the programs that a machine gets: without the container runtime's where it has one of its own.
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
			all = append(all, install{
				filepath.Join(plugins, entry.Name()),
				filepath.Join(j.CNIBinariesPath, entry.Name()),
			})
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
			c.AddChanges(spec.Change{What: "binary " + one.to, Effect: effectOf(one)})
		}
	}
	if len(all) == 0 || wanted > 0 {
		return false, fmt.Sprintf("kubelet %s and its companions have to be installed in %s", j.KubernetesVersion,
			j.BinariesPath), nil
	}
	return true, fmt.Sprintf("%d binaries are installed, kubelet %s", len(all), j.KubernetesVersion), nil
}

// effectOf returns the effect of installing a binary, with that of its service's phases.
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

// SameFile reports whether a linked file is still the original, by inode, or by size and time where it had to be
// copied.
func SameFile(original, linked string) bool {
	from, err := os.Stat(original)
	if err != nil {
		return false
	}
	to, err := os.Lstat(linked)
	if err != nil {
		return false
	}
	return os.SameFile(from, to) || to.Mode().IsRegular() && to.Size() == from.Size() &&
		to.ModTime().Equal(from.ModTime())
}

func applyBinaries(_ context.Context, c *node.Context) (string, error) {
	j := c.Operation.Join
	all, err := installs(c.Host, j)
	if err != nil {
		return "", err
	}
	manifest, err := bundle.ReadManifest(c.Host.Path(bundleDir(j)))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoBundle, err)
	}
	all = slices.DeleteFunc(all, func(one install) bool { return installed(c.Host, one) })
	files := make([]original.File, 0, len(all))
	for _, one := range all {
		digest := digestOf(manifest, strings.TrimPrefix(one.from, bundleDir(j)+"/"))
		files = append(files, programFile(c.Host, one.to, digest, j.BinariesPath))
	}
	edited, err := original.Take(c.Host, files...)
	if err != nil {
		return "", err
	}
	for _, one := range all {
		if err := c.Host.Replace(one.from, one.to); err != nil {
			return "", fmt.Errorf("installing %q: %w", one.to, err)
		}
	}
	return fmt.Sprintf("%d binaries installed%s", len(all), keptAs(edited)), nil
}

// keptAs returns a remark on files that were changed or replaced since Argosy wrote them.
func keptAs(edited []string) string {
	if len(edited) == 0 {
		return ""
	}
	return "; edits on the machine are kept as " + strings.Join(edited, ", ")
}

// programFile returns a program that is about to be installed, for the note of its original. Versions before the note
// kept originals in a folder of their own, and after a bundle that was received again their own programs among them.
func programFile(h *host.Host, name, digest, binariesPath string) original.File {
	f := original.File{
		Name: name, SHA256: digest, Program: true, Ours: func() bool { return bundled(h, name, binariesPath) },
	}
	before := filepath.Join(layout.Previous(binariesPath), filepath.Base(name))
	if h.Exists(before) && !bundled(h, before, binariesPath) {
		f.Before = before
	}
	return f
}

// bundled reports whether a file came from one of the bundles on the machine. Where a version before the note has
// installed binaries, a bundle may have been received again since; then files are compared by content.
func bundled(h *host.Host, file, binariesPath string) bool {
	names := []string{"release/" + filepath.Base(file), "release/cni/bin/" + filepath.Base(file)}
	for _, name := range names {
		candidates, _ := filepath.Glob(h.Path(filepath.Join(layout.Store(binariesPath), "*", name)))
		if slices.ContainsFunc(candidates, func(candidate string) bool { return SameFile(candidate, h.Path(file)) }) {
			return true
		}
	}
	if !h.Exists(layout.Previous(binariesPath)) {
		return false
	}
	folders, _ := filepath.Glob(h.Path(filepath.Join(layout.Store(binariesPath), "*")))
	for _, folder := range folders {
		manifest, err := bundle.ReadManifest(folder)
		if err != nil {
			continue
		}
		for _, name := range names {
			if digest := digestOf(manifest, name); digest != "" && original.Has(h, file, digest) {
				return true
			}
		}
	}
	return false
}
