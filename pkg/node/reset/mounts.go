package reset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

// mountTable has the machine's mounts.
type mountTable struct {
	// points are the mount points in the order of mounting; one may be listed several times.
	points []string
	// mounted are the same, to look up.
	mounted map[string]bool
	// own are those of the machine's owner: from /etc/fstab, or of a mount unit.
	own map[string]bool
	// shared are those that have peers: a mount beneath one appears and disappears beneath each.
	shared map[string]bool
	// remote are those of network file systems, whose server may not answer.
	remote map[string]bool
}

var remoteTypes = regexp.MustCompile(`^(nfs|cifs|smb|ceph|fuse|9p|afs|glusterfs|lustre)`)

func readMounts(h *host.Host) (mountTable, error) {
	table := mountTable{
		mounted: map[string]bool{}, own: map[string]bool{}, shared: map[string]bool{},
		remote: map[string]bool{},
	}
	const file = "/proc/self/mountinfo"
	data, err := h.ReadFile(file)
	if err != nil {
		return table, fmt.Errorf("reading %q: %w", file, err)
	}
	mounts, err := mountinfo.GetMountsFromReader(bytes.NewReader(data), nil)
	if err != nil {
		return table, fmt.Errorf("reading %q: %w", file, err)
	}
	for _, mount := range mounts {
		table.points = append(table.points, mount.Mountpoint)
		table.mounted[mount.Mountpoint] = true
		// The last one at a point is the one that its name leads to.
		table.remote[mount.Mountpoint] = remoteTypes.MatchString(mount.FSType)
		table.shared[mount.Mountpoint] = strings.Contains(mount.Optional, "shared:")
	}
	fstab, err := h.ReadFile("/etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return table, fmt.Errorf("reading the machine's own mounts in %q: %w", "/etc/fstab", err)
	}
	for line := range strings.Lines(string(fstab)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && !strings.HasPrefix(fields[0], "#") {
			table.owned(h, unescape(fields[1]))
		}
	}
	for _, where := range mountUnits(h) {
		table.owned(h, where)
	}
	for _, point := range table.points {
		table.own[point] = table.own[point] || ownersMount(point)
	}
	return table, nil
}

// owned notes dir as a mount of the owner; it may have links in it and end in slashes.
func (t *mountTable) owned(h *host.Host, dir string) {
	dir = filepath.Clean(dir)
	if !t.mounted[dir] {
		// Only its parent is resolved: a file system whose server does not answer must not be touched.
		path, err := filepath.EvalSymlinks(h.Path(filepath.Dir(dir)))
		if err != nil {
			return
		}
		dir = filepath.Join("/", strings.TrimPrefix(path, h.Root), filepath.Base(dir))
	}
	if t.mounted[dir] {
		t.own[dir] = true
	}
}

// unescape reads a field of fstab, in which a blank and a backslash are written as octal numbers: "\040", "\134".
func unescape(field string) string {
	var text strings.Builder
	for at := 0; at < len(field); at++ {
		if field[at] == '\\' && at+3 < len(field) {
			if code, err := strconv.ParseUint(field[at+1:at+4], 8, 8); err == nil {
				text.WriteByte(byte(code))
				at += 3
				continue
			}
		}
		text.WriteByte(field[at])
	}
	return text.String()
}

// mountUnits returns the mount points of the owner's units; those that systemd makes of fstab are elsewhere.
func mountUnits(h *host.Host) []string {
	var found []string
	for _, pattern := range []string{layout.UnitsDir + "/*.mount", "/usr/lib/systemd/system/*.mount"} {
		files, _ := filepath.Glob(h.Path(pattern))
		for _, file := range files {
			unit := h.ReadLine(strings.TrimPrefix(file, h.Root))
			for line := range strings.Lines(unit) {
				if where, is := strings.CutPrefix(strings.TrimSpace(line), "Where="); is {
					found = append(found, where)
				}
			}
		}
	}
	return found
}

// ownersMount reports whether a mount is one that no program of a node makes: of the folder of all pods or plugins, or
// of a whole snapshotter, as owners have them on another disk.
func ownersMount(point string) bool {
	dir, name := filepath.Split(point)
	return filepath.Base(dir) == "kubelet" && (name == "pods" || name == "plugins") ||
		strings.HasPrefix(name, "io.containerd.snapshotter.v1.")
}

// ownsBelow reports whether one of the owner's mounts is beneath dir.
func (t mountTable) ownsBelow(dir string) bool {
	for point := range t.own {
		if strings.HasPrefix(point, dir+"/") {
			return true
		}
	}
	return false
}

// below returns the mount points beneath dir that are not the owner's, latest first, so that those mounted on others
// come before them. A mount on dir itself is not among them.
func (t mountTable) below(dir string) []string {
	var found []string
	for _, point := range slices.Backward(t.points) {
		if strings.HasPrefix(point, dir+"/") && !t.own[point] {
			found = append(found, point)
		}
	}
	return found
}

// podMounts returns the mounts that pods left: volumes, root file systems of containers, shared memory of sandboxes.
func podMounts(h *host.Host) ([]string, error) {
	files, err := newTree(h)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, dir := range podData(files) {
		points, err := files.mountsIn(dir)
		if err != nil {
			return nil, err
		}
		found = append(found, points...)
	}
	return found, nil
}

func (c *cleaner) findMounts(_ context.Context, n *node.Context) ([]string, error) {
	if !c.ownsNode(n.Host) {
		return nil, nil
	}
	points, err := podMounts(n.Host)
	for i, point := range points {
		points[i] = "mount " + point
	}
	return points, err
}

// mountRounds bounds how often the table is read again while nothing can be unmounted. A mount may hide another one,
// which is unmounted in a later round.
const mountRounds = 10

func (c *cleaner) unmount(ctx context.Context, n *node.Context) (string, error) {
	total := 0
	for idle := 0; idle < mountRounds; idle++ {
		points, err := podMounts(n.Host)
		if err != nil {
			return "", err
		}
		if len(points) == 0 {
			return count.Of(total, "mount") + " unmounted", nil
		}
		unmounted, err := c.unmountOnce(ctx, n, points)
		if err != nil {
			return "", err
		}
		if unmounted > 0 {
			idle = 0
		}
		total += unmounted
	}
	left, err := podMounts(n.Host)
	if err != nil {
		return "", err
	}
	return "", fmt.Errorf("unmounting the volumes of pods: still mounted after %d rounds: %s", mountRounds, some(left))
}

// unmountOnce unmounts each point at most once, and returns how many. Where a point is there several times, its name
// and those beneath lead to another mount afterwards, which has not been parted from its peers.
func (c *cleaner) unmountOnce(ctx context.Context, n *node.Context, points []string) (int, error) {
	kept := c.makePrivate(n, points)
	var unmounted []string
	for _, point := range points {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		uncovered := slices.ContainsFunc(unmounted, func(other string) bool {
			return point == other || strings.HasPrefix(point, other+"/")
		})
		if uncovered || slices.Contains(kept, point) {
			continue
		}
		if err := c.kernel.Unmount(n.Host.Path(point)); err != nil {
			fmt.Fprintf(n.Log, "unmounting %q: %v\n", point, err)
			continue
		}
		unmounted = append(unmounted, point)
	}
	return len(unmounted), nil
}

// makePrivate makes the mounts of pods private: a pod's bind of a disk that the owner shares has the owner's mounts
// beneath it too, and they would be unmounted with the pod's. It returns those that could not be made private and have
// others beneath them, with these; they must stay.
func (c *cleaner) makePrivate(n *node.Context, points []string) []string {
	table, err := readMounts(n.Host)
	if err != nil {
		fmt.Fprintln(n.Log, err)
		return points
	}
	var kept []string
	// Those that came first are above the others, and take them along.
	for _, point := range slices.Backward(points) {
		beneath := table.below(point)
		if !table.shared[point] || table.remote[point] && len(beneath) == 0 {
			continue
		}
		err := withTimeout(privateTimeout, func() error { return c.kernel.MakePrivate(n.Host.Path(point)) })
		if err != nil && len(beneath) > 0 {
			fmt.Fprintf(n.Log, "making mount %q private: %v\n", point, err)
			kept = append(append(kept, point), beneath...)
		}
	}
	return kept
}

// privateTimeout bounds one call to the kernel, which asks a network file system's server for its folder.
const privateTimeout = 10 * time.Second

// withTimeout calls f and waits for it no longer than limit. A call that hangs in the kernel is left behind.
func withTimeout(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("the kernel did not answer within %s", limit)
	}
}
