package reset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
)

const (
	// podBridge is the bridge that pods' links are ports of.
	podBridge = "cni0"
	// servicesLink carries the addresses of Services where kube-proxy's mode is ipvs.
	servicesLink = "kube-ipvs0"
	// flannelPlugin is the network plugin that the flannel addon brings, among the bundle's own.
	flannelPlugin = "flannel"
	// netnsDir holds the pods' network namespaces, each a mount of its own.
	netnsDir = "/run/netns"
)

// flannelRun is where flannel's daemon leaves the node's part of the network.
const flannelRun = "/run/flannel"

// flannelLink is how flannel names its tunnel: by the number of the network, "flannel.1", "flannel-v6.1".
var flannelLink = regexp.MustCompile(`^flannel(-v6)?\.[0-9]+$`)

// addonsFlannel reports whether there is a configuration of flannel that the addon wrote. One that stood there before
// the machine was a node, and was not changed since, is the owner's.
func addonsFlannel(h *host.Host) bool {
	return h.Exists(layout.FlannelConf) && !isOriginal(h, layout.FlannelConf)
}

// nodeLink reports whether a link of this name is one of those that a node has once.
func nodeLink(name string) bool {
	return name == podBridge || name == servicesLink || flannelLink.MatchString(name)
}

// networkLinks are the links of a node, those that hang on others first. Links of others' containers stay, with the
// bridge that they share.
func (c *cleaner) networkLinks() ([]string, error) {
	all, err := c.kernel.Links()
	if err != nil {
		return nil, err
	}
	var ports, links []string
	for _, one := range all {
		switch {
		case c.networks.others.links[one.Name]:
		case one.Type == "veth" && one.Master == podBridge:
			ports = append(ports, one.Name)
		case nodeLink(one.Name):
			links = append(links, one.Name)
		}
	}
	return append(ports, links...), nil
}

// emptyNamespaces are the pods' network namespaces, as containerd names them, that no process is in. Other engines name
// theirs alike, and theirs have processes, or a result that is no pod's.
func (c *cleaner) emptyNamespaces(h *host.Host) []string {
	names, _ := filepath.Glob(h.Path(netnsDir + "/cni-*"))
	if len(names) == 0 {
		return nil
	}
	var used []os.FileInfo
	for _, process := range runningProcesses(h) {
		if info, err := os.Stat(h.Path(fmt.Sprintf("/proc/%d/ns/net", process.PID))); err == nil {
			used = append(used, info)
		}
	}
	var empty []string
	for _, name := range names {
		info, err := os.Lstat(name)
		if err != nil || isAmong(info, used) || c.networks.others.namespaces[filepath.Base(name)] {
			continue
		}
		empty = append(empty, strings.TrimPrefix(name, h.Root))
	}
	return empty
}

func isAmong(info os.FileInfo, others []os.FileInfo) bool {
	for _, other := range others {
		if os.SameFile(info, other) {
			return true
		}
	}
	return false
}

func (c *cleaner) findNetwork(ctx context.Context, n *node.Context) ([]string, error) {
	if !c.ownsNode(n.Host) {
		return nil, nil
	}
	c.networks.read(n.Host)
	var found []string
	links, err := c.networkLinks()
	if err != nil {
		return nil, err
	}
	for _, name := range links {
		found = append(found, "link "+name)
	}
	for _, name := range c.emptyNamespaces(n.Host) {
		found = append(found, "network namespace "+name)
	}
	rules, err := c.kernel.Rules(&c.networks)
	if err != nil {
		return nil, err
	}
	legacy, err := findLegacy(ctx, n, &c.networks)
	if err != nil {
		return nil, err
	}
	for _, rule := range append(rules, legacy...) {
		found = append(found, "rules "+rule)
	}
	files, err := newTree(n.Host)
	if err != nil {
		return nil, err
	}
	if addonsFlannel(n.Host) {
		found = append(found, layout.FlannelConf)
	}
	for _, name := range append(c.networks.files(n.Host), flannelRun) {
		if files.left(name) {
			found = append(found, name)
		}
	}
	return found, nil
}

// removeNetwork goes from the outside in: first nothing leads to pods any more, then their links go.
func (c *cleaner) removeNetwork(ctx context.Context, n *node.Context) (string, error) {
	c.networks.read(n.Host)
	links, err := c.networkLinks()
	if err != nil {
		return "", err
	}
	if err := c.removeAllRules(ctx, n, links); err != nil {
		return "", err
	}
	if err := c.removeNamespaces(n); err != nil {
		return "", err
	}
	// With their namespaces, pods' links may have gone by themselves.
	for _, name := range links {
		if err := c.kernel.RemoveLink(name); err != nil {
			return "", err
		}
	}
	if err := c.removeNetworkFiles(ctx, n); err != nil {
		return "", err
	}
	return count.Of(len(links), "link") + " and all rules of the pods' network removed", nil
}

func (c *cleaner) removeAllRules(ctx context.Context, n *node.Context, links []string) error {
	if err := errors.Join(c.kernel.RemoveRules(&c.networks), removeLegacy(ctx, n, &c.networks)); err != nil {
		return err
	}
	for _, name := range links {
		if name == servicesLink {
			return c.kernel.RemoveServices()
		}
	}
	return nil
}

func (c *cleaner) removeNamespaces(n *node.Context) error {
	mounts, err := readMounts(n.Host)
	if err != nil {
		return err
	}
	for _, name := range c.emptyNamespaces(n.Host) {
		if mounts.mounted[name] {
			if err := c.kernel.Unmount(n.Host.Path(name)); err != nil {
				return fmt.Errorf("unmounting network namespace %q: %w", name, err)
			}
		}
		if err := n.Host.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *cleaner) removeNetworkFiles(ctx context.Context, n *node.Context) error {
	files, err := newTree(n.Host)
	if err != nil {
		return err
	}
	for _, name := range append(c.networks.files(n.Host), flannelRun) {
		if err := files.clear(ctx, name); err != nil {
			return err
		}
	}
	// The configuration tells that the plugin is the addon's, and which network was the pods', so it goes last.
	if addonsFlannel(n.Host) {
		for _, dir := range cniPaths(n) {
			if err := n.Host.Remove(filepath.Join(dir, flannelPlugin)); err != nil {
				return err
			}
		}
		if err := n.Host.Remove(layout.FlannelConf); err != nil {
			return err
		}
	}
	prune(n.Host, leasesDir, resultsDir, cniDir, layout.CNIConf, filepath.Dir(layout.CNIConf), netnsDir)
	return nil
}

// siteNetworks are the network configurations that stay, since Argosy did not write them.
func siteNetworks(h *host.Host) []string {
	entries, err := os.ReadDir(h.Path(layout.CNIConf))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []string{err.Error()}
	}
	var names []string
	for _, entry := range entries {
		if name := filepath.Join(layout.CNIConf, entry.Name()); name != layout.FlannelConf || isOriginal(h, name) {
			names = append(names, name)
		}
	}
	return names
}
