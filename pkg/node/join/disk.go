package join

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"

	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/spec"
)

// overlayCheck is the name by which ignorePreflightErrors ignores a file system on which containerd cannot make
// overlays; kubeadm has no such check.
const overlayCheck = "Overlayfs"

// withoutOverlay are file systems that cannot be the upper layer of an overlay, by the kernel's documentation of
// overlayfs and containerd's own check.
var withoutOverlay = []string{
	"nfs", "nfs3", "nfs4", "cifs", "smb3", "vfat", "exfat", "ecryptfs", "fuse.sshfs", "fuse.glusterfs",
}

// checkOverlay finds a file system below containerd's folder on which no container starts, with containerd's own
// snapshotter: xfs that was made with ftype=0 above all, as installers of older systems did.
func checkOverlay(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	if snapshotter := inspect.Snapshotter(h); j.Containerd.External || snapshotter != "" && snapshotter != "overlayfs" {
		return
	}
	roots := inspect.ContainerdRoots(h)
	root := roots[len(roots)-1] // the owner's, where there is one
	on := mountOf(mounts(h), root)
	const remedy = "mount another file system there, or have containerd use another snapshotter (native) by a file " +
		"in /etc/containerd/conf.d."
	switch {
	case slices.Contains(withoutOverlay, on.kind):
		f.problem("%s is on %s, a file system of type %s, on which containerd's overlayfs does not work; %s", root,
			on.point, on.kind, remedy)
	case !hasFileTypes(h.Path(existing(h, root))):
		if on.kind == "xfs" {
			f.problem("%s is on %s, an xfs that was made with ftype=0, on which containerd's overlayfs does not work; "+
				"make it anew (mkfs.xfs has ftype=1 by default), %s", root, on.point, remedy)
			return
		}
		f.problem("%s is on %s, a file system without the types of files in its folders (d_type), on which "+
			"containerd's overlayfs does not work; %s", root, on.point, remedy)
	}
}

// existing returns dir, or the next folder above it that exists.
func existing(h *host.Host, dir string) string {
	for dir != "/" && !h.Exists(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}

// hasFileTypes reports whether a folder's entries tell whether they are files or folders. A file system without types
// has none for "." either, so that an empty folder tells it too.
func hasFileTypes(dir string) bool {
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return true
	}
	defer func() { _ = syscall.Close(fd) }()
	buffer := make([]byte, 4096)
	n, err := syscall.ReadDirent(fd, buffer)
	if err != nil || n <= 0 {
		return true
	}
	// struct linux_dirent64: inode and offset of 8 bytes each, length of 2, type of 1, name.
	const lengthAt, typeAt = 16, 18
	for entry := buffer[:n]; len(entry) > typeAt; {
		length := int(binary.NativeEndian.Uint16(entry[lengthAt:]))
		if entry[typeAt] != syscall.DT_UNKNOWN {
			return true
		}
		if length <= typeAt || length > len(entry) {
			break
		}
		entry = entry[length:]
	}
	return false
}

// threshold is a level below which the kubelet reports DiskPressure and starts no more pods.
type threshold struct {
	signal, folder string
	// inodes is set for a level of inodes, not of bytes.
	inodes bool
}

// evictionDefaults are the kubelet's levels where its configuration has no evictionHard (DefaultEvictionHard in
// pkg/kubelet/eviction/defaults_linux.go).
var evictionDefaults = map[string]string{
	"nodefs.available": "10%", "nodefs.inodesFree": "5%", "imagefs.available": "15%", "imagefs.inodesFree": "5%",
}

// checkPressure tells of a file system that is so full that the kubelet keeps pods away as soon as the node is Ready.
func checkPressure(_ context.Context, h *host.Host, j *spec.Join, f *findings) {
	var config struct {
		EvictionHard map[string]string `yaml:"evictionHard"`
	}
	levels := evictionDefaults
	if yaml.Unmarshal([]byte(j.KubeletConfig), &config) == nil && config.EvictionHard != nil {
		levels = config.EvictionHard
	}
	roots := inspect.ContainerdRoots(h)
	for _, t := range []threshold{
		{"nodefs.available", "/var/lib/kubelet", false},
		{"nodefs.inodesFree", "/var/lib/kubelet", true},
		{"imagefs.available", roots[len(roots)-1], false},
		{"imagefs.inodesFree", roots[len(roots)-1], true},
	} {
		disk := inspect.Disk(h, t.folder)
		free, total, unit := disk.Free, disk.Total, "of "+size(disk.Total)
		if t.inodes {
			free, total, unit = disk.InodesFree, disk.Inodes, "of its inodes"
		}
		level := levels[t.signal]
		if total > 0 && free < eviction(level, total) {
			f.remark("The file system of %s has %.0f %% %s free, and below %s (%s) the kubelet reports DiskPressure, "+
				"so that no pods start on the node; free some, or set evictionHard in the cluster's kubelet "+
				"configuration.", t.folder, 100*float64(free)/float64(total), unit, level, t.signal)
		}
	}
}

// eviction returns a level of the kubelet's, a share of total ("10%") or an amount ("1Gi"); 0 for one that it would not
// read either.
func eviction(level string, total int64) int64 {
	digits := strings.TrimRight(level, "%EPTGMKik")
	number, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0
	}
	unit := level[len(digits):]
	if unit == "%" {
		return int64(number / 100 * float64(total))
	}
	base := 1000.0
	if strings.HasSuffix(unit, "i") {
		base = 1024
	}
	for range strings.Index("_KMGTPE", strings.ToUpper(strings.TrimSuffix(unit, "i"))) * min(len(unit), 1) {
		number *= base
	}
	return int64(number)
}
