package reset

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

// kubelets returns the running kubelets of Argosy: preflight has refused a machine with another kubelet's unit, and one
// in a container has another file system.
func kubelets(n *node.Context) []inspect.Process {
	dirs := binariesPaths(n)
	return slices.DeleteFunc(runningProcesses(n.Host), func(p inspect.Process) bool {
		return p.Name != "kubelet" || inspect.Contained(n.Host, p) || !slices.Contains(dirs, filepath.Dir(p.Program))
	})
}

func (c *cleaner) findKubelet(_ context.Context, n *node.Context) ([]string, error) {
	if !c.ownsNode(n.Host) {
		return nil, nil
	}
	found := describe(kubelets(n))
	if startsAtBoot(n.Host, "kubelet") {
		found = append(found, "kubelet.service, which starts at boot")
	}
	return found, nil
}

// startsAtBoot reports whether Argosy's unit of the service is enabled. A link to another unit is the original.
func startsAtBoot(h *host.Host, service string) bool {
	link := layout.EnabledLink(service)
	target, err := os.Readlink(h.Path(link))
	if err == nil && !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(link), target)
	}
	return err == nil && target == layout.Unit(service)
}

// stopKubelet stops and disables the kubelet. Its pods run on: containers outlive their kubelet.
func (c *cleaner) stopKubelet(ctx context.Context, n *node.Context) (string, error) {
	if err := stopService(ctx, n, "kubelet"); err != nil {
		return "", err
	}
	left, err := c.waitUntilGone(ctx, func() {
		for _, process := range kubelets(n) {
			_ = c.kernel.Kill(process.PID)
		}
	}, func() ([]string, error) { return describe(kubelets(n)), nil })
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return "", fmt.Errorf("stopping the kubelet: still there after %s: %s", c.goneTimeout, some(left))
	}
	return "kubelet stopped", nil
}

// stopService stops a service and disables it.
func stopService(ctx context.Context, n *node.Context, name string) error {
	// It is disabled first, so that a reboot at this point does not start it.
	if startsAtBoot(n.Host, name) {
		if err := n.Host.Remove(layout.EnabledLink(name)); err != nil {
			return err
		}
	}
	output, _ := n.Host.Runner.Run(ctx, host.Command{Argv: []string{
		"systemctl", "show", "--property=ActiveState",
		"--value", name + ".service",
	}})
	if state := strings.TrimSpace(string(output)); state == "inactive" || state == "failed" {
		return nil
	}
	if _, err := n.Host.Runner.Run(ctx, systemctl(n, "stop", name+".service")); err != nil {
		return fmt.Errorf("stopping %s: %w", name, err)
	}
	return nil
}

func systemctl(n *node.Context, args ...string) host.Command {
	return host.Command{Argv: append([]string{"systemctl"}, args...), Log: n.Log}
}
