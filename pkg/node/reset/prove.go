package reset

import (
	"context"
	"fmt"
	"strings"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
)

// kubeletPort is where kubelets serve.
const kubeletPort = 10250

// findAnything returns everything that is left of a node, as if no phase had run before: processes, ports, mounts,
// network and files.
func (c *cleaner) findAnything(ctx context.Context, n *node.Context) ([]string, error) {
	var found []string
	for _, find := range []finder{
		c.findKubelet, c.findPods, findContainerd, c.findMounts, c.findNetwork, findBinaries, c.findFiles,
	} {
		more, err := find(ctx, n)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	if !c.ownsNode(n.Host) {
		return found, nil
	}
	if holder := inspect.Listener(n.Host, kubeletPort); holder != "" {
		found = append(found, fmt.Sprintf("port %d, held by %s", kubeletPort, holder))
	}
	for _, name := range []string{inspect.KubeletConf, layout.BootstrapConf} {
		if n.Host.Exists(name) {
			found = append(found, "credentials in "+name)
		}
	}
	return found, nil
}

func (c *cleaner) checkProof(ctx context.Context, n *node.Context) (bool, string, error) {
	left, err := c.findAnything(ctx, n)
	if err != nil || len(left) > 0 {
		return false, some(left), err
	}
	return true, proofDetail(n), nil
}

// prove fails if anything is left, and names it.
func (c *cleaner) prove(ctx context.Context, n *node.Context) (string, error) {
	// Links, for one, go a moment after their namespaces.
	left, err := c.waitUntilGone(ctx, func() {}, func() ([]string, error) { return c.findAnything(ctx, n) })
	if err != nil {
		return "", err
	}
	if len(left) > 0 {
		return "", &node.Failure{
			Err:      errclass.Errorf(errclass.Permanent, "the machine is not clean: still there: %s", some(left)),
			Problems: left,
			Hint:     "reboot the machine, which ends processes and mounts, then reset it again",
		}
	}
	return proofDetail(n), nil
}

// proofDetail returns the detail: the kinds of things that were not found, and those that stay since they are not
// Argosy's.
func proofDetail(n *node.Context) string {
	text := "no process, port, mount, link, rule, credential or file of a node is left"
	if names := siteNetworks(n.Host); len(names) > 0 {
		text += "; the site's own " + strings.Join(names, ", ") + " stays"
	}
	return text + replaced(n) + keptData(n.Host) + keptVolumes(n)
}
