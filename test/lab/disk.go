package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// inputs determine a machine's disk, beside the lab's keys.
type inputs struct {
	rootfs string
	// pause and binds are for cluster machines: the reference of the pause
	// image, and read-only folders by their path on the machine.
	pause string
	binds map[string]string
}

// disk is where one machine's files are on this computer. The root is an
// overlay of upper on the common root file system; the bound folders are on the
// real disk, since containerd cannot stack its overlays on an overlay.
type disk struct{ dir string }

func (d disk) upper() string { return filepath.Join(d.data(), "upper") }
func (d disk) work() string  { return filepath.Join(d.data(), "work") }
func (d disk) root() string  { return filepath.Join(d.dir, "root") }
func (d disk) stamp() string { return filepath.Join(d.dir, "stamp") }

func (d disk) bound(path string) string {
	return filepath.Join(d.data(), "disk", strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "-"))
}

// boundFolders are the folders of a machine that live on the real disk.
func boundFolders(m MachineSpec) []string {
	folders := []string{"/var/lib/containerd", "/var/lib/kubelet", "/var/lib/argosy"}
	if m.hasCluster() {
		folders = append(folders, "/var/lib/etcd")
	}
	if m.Role == RoleHost {
		folders = append(folders, storageFolder)
	}
	return folders
}

// bareMark is there for a machine that was reset without a pod network.
func (d disk) bareMark() string { return filepath.Join(d.dir, "bare") }

func (d disk) setBare(bare bool) error {
	if !bare {
		if err := os.Remove(d.bareMark()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restoring the pod network: %w", err)
		}
		return nil
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", d.dir, err)
	}
	if err := os.WriteFile(d.bareMark(), nil, 0o644); err != nil {
		return fmt.Errorf("taking the pod network away: %w", err)
	}
	return nil
}

func (l *Lab) disk(m MachineSpec) disk { return disk{dir: l.machineDir(m.Name)} }

// wipe removes everything that a machine has written, and the stamp first, so
// that a wipe cut short is done again.
func (d disk) wipe() error {
	for _, path := range []string{d.stamp(), d.upper(), d.work(), filepath.Join(d.data(), "disk")} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("wiping %q: %w", path, err)
		}
	}
	return nil
}

// file is one file that a machine's disk starts with.
type file struct {
	path string
	mode os.FileMode
	data string
	// owner is the numeric user and group; 0 is root.
	owner int
	// link makes a symbolic link to data instead of a file.
	link bool
	// gone hides a file of the common root file system.
	gone bool
}

// prepare makes a clean disk for the machine unless it has one that was made
// from the same inputs. It reports whether it did.
func (l *Lab) prepare(ctx context.Context, m MachineSpec, in inputs) (fresh bool, err error) {
	d := l.disk(m)
	if err := d.mountImage(ctx); err != nil {
		return false, err
	}
	files, err := l.machineFiles(ctx, m, in)
	if err != nil {
		return false, err
	}
	stamp := stampOf(in, files)
	if old, err := os.ReadFile(d.stamp()); err == nil && string(old) == stamp {
		return false, nil
	}
	if err := d.wipe(); err != nil {
		return false, err
	}
	folders := []string{d.upper(), d.work(), d.root()}
	for _, folder := range boundFolders(m) {
		folders = append(folders, d.bound(folder))
	}
	for _, folder := range folders {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return false, fmt.Errorf("making %q: %w", folder, err)
		}
	}
	for _, f := range files {
		if err := f.place(in.rootfs, d.upper()); err != nil {
			return false, fmt.Errorf("placing %q on machine %q: %w", f.path, m.Name, err)
		}
	}
	if err := os.WriteFile(d.stamp(), []byte(stamp), 0o644); err != nil {
		return false, fmt.Errorf("stamping the disk of machine %q: %w", m.Name, err)
	}
	return true, nil
}

func stampOf(in inputs, files []file) string {
	sum := sha256.New()
	fmt.Fprintln(sum, in.rootfs)
	for _, target := range slices.Sorted(maps.Keys(in.binds)) {
		fmt.Fprintf(sum, "%q %q\n", target, in.binds[target])
	}
	for _, f := range files {
		fmt.Fprintf(sum, "%q %o %d %t %t %q\n", f.path, f.mode, f.owner, f.link, f.gone, f.data)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func (f file) place(rootfs, upper string) error {
	target := filepath.Join(upper, f.path)
	if err := makeParents(rootfs, upper, filepath.Dir(f.path)); err != nil {
		return err
	}
	switch {
	case f.gone:
		// A character device 0:0 in the upper folder hides the lower file.
		if err := unix.Mknod(target, unix.S_IFCHR, 0); err != nil {
			return fmt.Errorf("hiding the file: %w", err)
		}
		return nil
	case f.link:
		if err := os.Symlink(f.data, target); err != nil {
			return fmt.Errorf("linking: %w", err)
		}
		return nil
	}
	if err := os.WriteFile(target, []byte(f.data), f.mode); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if err := os.Chmod(target, f.mode); err != nil {
		return fmt.Errorf("setting the mode: %w", err)
	}
	if err := os.Chown(target, f.owner, f.owner); err != nil {
		return fmt.Errorf("setting the owner: %w", err)
	}
	return nil
}

// makeParents makes the folders above a file with the mode and owner that they
// have in the common root file system, since the upper folder's hide those.
func makeParents(rootfs, upper, dir string) error {
	var chain []string
	for d := filepath.Clean(dir); d != "/"; d = filepath.Dir(d) {
		chain = append(chain, d)
	}
	for _, d := range slices.Backward(chain) {
		target := filepath.Join(upper, d)
		if exists(target) {
			continue
		}
		if err := os.Mkdir(target, 0o755); err != nil {
			return fmt.Errorf("making folder %q: %w", d, err)
		}
		var lower unix.Stat_t
		if unix.Stat(filepath.Join(rootfs, d), &lower) != nil {
			if err := inheritOwner(upper, d); err != nil {
				return err
			}
			continue
		}
		if err := os.Chmod(target, os.FileMode(lower.Mode&0o777)|sticky(lower.Mode)); err != nil {
			return fmt.Errorf("setting the mode of %q: %w", d, err)
		}
		if err := os.Chown(target, int(lower.Uid), int(lower.Gid)); err != nil {
			return fmt.Errorf("setting the owner of %q: %w", d, err)
		}
	}
	return nil
}

// inheritOwner gives a new folder its parent's owner: ~ops/.ssh belongs to ops.
func inheritOwner(upper, dir string) error {
	var parent unix.Stat_t
	if err := unix.Stat(filepath.Dir(filepath.Join(upper, dir)), &parent); err != nil {
		return fmt.Errorf("reading the owner above %q: %w", dir, err)
	}
	if err := os.Chown(filepath.Join(upper, dir), int(parent.Uid), int(parent.Gid)); err != nil {
		return fmt.Errorf("setting the owner of %q: %w", dir, err)
	}
	return nil
}

func sticky(mode uint32) os.FileMode {
	if mode&unix.S_ISVTX != 0 {
		return os.ModeSticky
	}
	return 0
}
