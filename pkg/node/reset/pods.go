package reset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

const (
	// queryTimeout and deleteTimeout bound calls of containerd: one that hangs is not waited for, since its pods can be
	// ended without it.
	queryTimeout  = 5 * time.Second
	deleteTimeout = time.Minute
)

// findPods returns the pods' processes, and the containers that containerd has, if it answers.
func (c *cleaner) findPods(ctx context.Context, n *node.Context) ([]string, error) {
	if !c.ownsNode(n.Host) {
		return nil, nil
	}
	found := describe(podProcesses(n.Host))
	if client(ctx, n) != "" {
		ids, err := list(ctx, n, "containers")
		if err != nil {
			found = append(found, fmt.Sprintf("containers that containerd does not list (%v)", err))
		}
		for _, id := range ids {
			found = append(found, "container "+id[:min(len(id), 12)])
		}
	}
	ids, err := foreignPods(ctx, n)
	if err != nil {
		found = append(found, fmt.Sprintf("pods that the container runtime does not list (%v)", err))
	}
	for _, id := range ids {
		found = append(found, "pod "+id[:min(len(id), 12)])
	}
	for _, group := range controlGroups(n.Host) {
		found = append(found, "control group "+group)
	}
	return found, nil
}

func podProcesses(h *host.Host) []inspect.Process {
	return append(ofPods(h), shims(h)[podNamespace]...)
}

// endPods ends all containers at once, as the end of a sandbox would. A drain before that ends pods in order.
func (c *cleaner) endPods(ctx context.Context, n *node.Context) (string, error) {
	before := len(podProcesses(n.Host))
	if client(ctx, n) != "" {
		if err := deleteContainers(ctx, n); err != nil {
			// One that is not Argosy's keeps its containers, so there it is an error.
			if !ownsContainerd(n.Host) {
				return "", err
			}
			fmt.Fprintln(n.Log, err)
		}
	}
	if err := removeForeignPods(ctx, n); err != nil {
		return "", err
	}
	kill := func() {
		for _, process := range podProcesses(n.Host) {
			_ = c.kernel.Kill(process.PID)
		}
	}
	kill()
	left, err := c.waitUntilGone(ctx, kill, func() ([]string, error) { return describe(podProcesses(n.Host)), nil })
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return "", fmt.Errorf("ending all pods: still there after %s: %s", c.goneTimeout, some(left))
	}
	if err := c.removeControlGroups(ctx, n); err != nil {
		return "", fmt.Errorf("removing control groups of pods: %w", err)
	}
	return count.Of(before, "process") + " of pods ended", nil
}

// deleteContainers makes containerd end and delete every container of pods.
func deleteContainers(ctx context.Context, n *node.Context) error {
	for _, deletion := range [][]string{{"tasks", "delete", "--force"}, {"containers", "delete"}} {
		ids, err := list(ctx, n, deletion[0])
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			continue
		}
		n.SetMessage("ending %s of pods", count.Of(len(ids), strings.TrimSuffix(deletion[0], "s")))
		if _, err := ctr(ctx, n, deleteTimeout, append(deletion, ids...)...); err != nil {
			// The error may be of containers that ended by themselves a moment before; only those that are left count.
			fmt.Fprintln(n.Log, err)
		}
	}
	left, err := list(ctx, n, "containers")
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("deleting the containers of pods: %d left: %s", len(left), some(left))
	}
	return err
}

func list(ctx context.Context, n *node.Context, kind string) ([]string, error) {
	output, err := ctr(ctx, n, queryTimeout, kind, "list", "--quiet")
	if err != nil {
		return nil, fmt.Errorf("listing %s of pods: %w", kind, err)
	}
	var ids []string
	for line := range strings.Lines(string(output)) {
		if id := strings.TrimSpace(line); containerID.MatchString(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// containerID matches names, and not the warnings that ctr also prints.
var containerID = regexp.MustCompile(`^[A-Za-z0-9]+([-._][A-Za-z0-9]+)*$`)

// client returns the path of ctr: the bundle's, or the machine's own. It returns "" when containerd does not answer or
// there is no ctr; then pods are found by processes alone.
func client(ctx context.Context, n *node.Context) string {
	if inspect.Answers(ctx, n.Host, layout.ContainerdSocket) != nil {
		return ""
	}
	for _, dir := range binariesPaths(n) {
		if program := filepath.Join(dir, "ctr"); n.Host.Exists(program) {
			return program
		}
	}
	return findProgram(n.Host, "ctr")
}

// ctr runs containerd's client.
func ctr(ctx context.Context, n *node.Context, within time.Duration, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	argv := []string{
		n.Host.Path(client(ctx, n)), "--address", n.Host.Path(layout.ContainerdSocket), "--namespace",
		podNamespace,
	}
	return n.Host.Runner.Run(ctx, host.Command{Argv: append(argv, args...)})
}

// controlGroups returns the cgroups that the kubelet made for pods, the topmost of each hierarchy.
func controlGroups(h *host.Host) []string { return inspect.ReadCgroups(h).Pods() }

// removeControlGroups removes groups without processes. systemd stops its slices first.
func (c *cleaner) removeControlGroups(ctx context.Context, n *node.Context) error {
	var units []string
	for _, group := range controlGroups(n.Host) {
		if name := filepath.Base(group); strings.HasSuffix(name, ".slice") && !slices.Contains(units, name) {
			units = append(units, name)
		}
	}
	for _, slice := range units {
		if _, err := n.Host.Runner.Run(ctx, systemctl(n, "stop", slice)); err != nil {
			return err
		}
	}
	var refused error
	remove := func() {
		refused = nil
		for _, group := range controlGroups(n.Host) {
			refused = errors.Join(refused, removeGroup(n.Host.Path(group)))
		}
	}
	remove()
	left, err := c.waitUntilGone(ctx, remove, func() ([]string, error) { return controlGroups(n.Host), nil })
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("still there after %s: %s: %w", c.goneTimeout, some(left), refused)
	}
	return err
}

// removeGroup removes a group with those beneath it. Its files go with it, and cannot be removed.
func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		if entry.IsDir() {
			err = errors.Join(err, removeGroup(filepath.Join(dir, entry.Name())))
		}
	}
	if err == nil {
		err = os.Remove(dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
