package reset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

// mountTable is what is mounted where.
type mountTable struct {
	// points are the mount points in the order in which they came; one may be there several times.
	points []string
	// mounted are the same, to look up.
	mounted map[string]bool
	// own are those that the machine's owner mounts: they stand in /etc/fstab.
	own map[string]bool
}

func readMounts(h *host.Host) (mountTable, error) {
	table := mountTable{mounted: map[string]bool{}, own: map[string]bool{}}
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
	}
	fstab, err := h.ReadFile("/etc/fstab")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return table, fmt.Errorf("reading the machine's own mounts: %w", err)
	}
	for line := range strings.Lines(string(fstab)) {
		if fields := strings.Fields(line); len(fields) > 1 && !strings.HasPrefix(fields[0], "#") && table.mounted[fields[1]] {
			table.own[fields[1]] = true
		}
	}
	return table, nil
}

// ownsBelow says whether one of the owner's mounts is beneath dir.
func (t mountTable) ownsBelow(dir string) bool {
	for point := range t.own {
		if strings.HasPrefix(point, dir+"/") {
			return true
		}
	}
	return false
}

// below lists the mount points beneath dir that are not the owner's, latest first, so that those mounted on others come
// before them. What is mounted on dir itself is not among them.
func (t mountTable) below(dir string) []string {
	var found []string
	for _, point := range slices.Backward(t.points) {
		if strings.HasPrefix(point, dir+"/") && !t.own[point] {
			found = append(found, point)
		}
	}
	return found
}

// podMounts lists what pods left mounted: volumes, root file systems of containers, shared memory of sandboxes.
func podMounts(h *host.Host) ([]string, error) {
	files, err := newTree(h)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, dir := range append([]string{layout.KubeletDir}, podDirs(h)...) {
		real, err := files.resolve(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, files.table.below(real)...)
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

// mountRounds bounds how often the table is read again: a mount may hide another one.
const mountRounds = 10

func (c *cleaner) unmount(ctx context.Context, n *node.Context) (string, error) {
	count := 0
	for range mountRounds {
		points, err := podMounts(n.Host)
		if err != nil {
			return "", err
		}
		if len(points) == 0 {
			return fmt.Sprintf("%d mounts taken away", count), nil
		}
		for _, point := range points {
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			if err := c.kernel.Unmount(n.Host.Path(point)); err != nil {
				fmt.Fprintf(n.Log, "unmounting %q: %v\n", point, err)
				continue
			}
			count++
		}
	}
	left, err := podMounts(n.Host)
	if err != nil {
		return "", err
	}
	return "", fmt.Errorf("unmounting what pods used: after %d rounds there still are %s", mountRounds, some(left))
}
