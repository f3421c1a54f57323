package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"argosy.dev/argosy/pkg/fault"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/join"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkKept holds when there is something to go back to: what the machine of this very cluster was before this upgrade.
func checkKept(_ context.Context, c *node.Context) (bool, string, error) {
	known, err := readKept(c.Host)
	if err != nil {
		return false, "", err
	}
	j := c.Operation.Join
	switch {
	case known == nil:
		return false, "", fault.As(fault.Permanent, errors.New("nothing was kept: the machine was not touched by an upgrade"))
	case known.Record.ClusterUID != j.ClusterUID || known.Record.NodeName != j.NodeName:
		return false, "", fault.As(fault.Permanent, fmt.Errorf("what was kept is of node %s of cluster %s", known.Record.NodeName, known.Record.Cluster))
	case known.To != j.Bundle.SHA256:
		return false, "", fault.As(fault.Permanent, fmt.Errorf("what was kept is from before another upgrade, and is of %s", known.Record.Version))
	}
	return true, fmt.Sprintf("%d files of %s are kept", len(known.Files), known.Record.Version), nil
}

// holds says whether the file is what was kept.
func (k keptOne) holds(h *host.Host) bool {
	if k.Copy == "" {
		return !h.Exists(k.Name)
	}
	if !k.Binary {
		content, err := h.ReadFile(k.Copy)
		info, there := os.Lstat(h.Path(k.Name))
		return err == nil && there == nil && info.Mode().Perm() == k.Mode && h.Holds(k.Name, content)
	}
	return join.SameFile(h.Path(k.Copy), h.Path(k.Name))
}

// putBack makes the file what was kept, by rename.
func (k keptOne) putBack(h *host.Host) error {
	switch {
	case k.Copy == "":
		return h.Remove(k.Name)
	case !k.Binary:
		content, err := h.ReadFile(k.Copy)
		if err != nil {
			return fmt.Errorf("reading what was kept of %q: %w", k.Name, err)
		}
		_, err = h.WriteFile(k.Name, content, k.Mode)
		return err
	}
	temp := host.TempName(h.Path(k.Name))
	_ = os.Remove(temp)
	if err := join.LinkOrCopy(h.Path(k.Copy), temp); err != nil {
		return fmt.Errorf("putting back %q: %w", k.Name, err)
	}
	if err := os.Rename(temp, h.Path(k.Name)); err != nil {
		return fmt.Errorf("putting back %q: %w", k.Name, err)
	}
	return nil
}

// stamps are the files by which it is known with what a service was started, and the record of what the machine is. They are
// put back when that is so again.
func isStamp(name string) bool {
	return name == join.Stamp("containerd") || name == join.Stamp("kubelet") || name == spec.RecordFile
}

func checkRestore(_ context.Context, c *node.Context) (bool, string, error) {
	known, err := readKept(c.Host)
	if err != nil || known == nil {
		return false, "there has to be something kept", err
	}
	var differ []string
	for _, one := range known.Files {
		if !isStamp(one.Name) && !one.holds(c.Host) {
			differ = append(differ, filepath.Base(one.Name))
		}
	}
	if len(differ) > 0 {
		return false, "put back have to be " + strings.Join(differ, ", "), nil
	}
	return true, "all files are those of " + known.Record.Version, nil
}

func applyRestore(_ context.Context, c *node.Context) (string, error) {
	known, err := readKept(c.Host)
	if err != nil {
		return "", err
	}
	// Before anything else: with a stamp that holds for other files, a service would not be restarted.
	if err := c.Host.Remove(join.Stamp("kubelet")); err != nil {
		return "", err
	}
	count := 0
	for _, one := range known.Files {
		if isStamp(one.Name) || one.holds(c.Host) {
			continue
		}
		if ofContainerd(one.Name) {
			if err := c.Host.Remove(join.Stamp("containerd")); err != nil {
				return "", err
			}
		}
		if err := one.putBack(c.Host); err != nil {
			return "", err
		}
		count++
	}
	return fmt.Sprintf("%d files of %s put back", count, known.Record.Version), nil
}

// ofContainerd says whether containerd has to be restarted for a file: it starts its shims and runc anew each time.
func ofContainerd(name string) bool {
	return name == layout.ContainerdConfig || name == layout.RegistryLogins || name == layout.Unit("containerd") || filepath.Base(name) == "containerd"
}

// restarts are the services that do not run with what was put back, as their stamps say.
func (k *kept) restarts(h *host.Host) []string {
	var names []string
	for _, name := range []string{"containerd", "kubelet"} {
		for _, one := range k.Files {
			if one.Name == join.Stamp(name) && one.Copy != "" && !one.holds(h) {
				names = append(names, name)
			}
		}
	}
	return names
}

func checkServices(_ context.Context, c *node.Context) (bool, string, error) {
	known, err := readKept(c.Host)
	if err != nil || known == nil {
		return false, "services have to be restarted", err
	}
	if names := known.restarts(c.Host); len(names) > 0 {
		return false, strings.Join(names, " and ") + " have to be restarted", nil
	}
	return true, "all services run with what was put back", nil
}

func applyServices(ctx context.Context, c *node.Context) (string, error) {
	known, err := readKept(c.Host)
	if err != nil {
		return "", err
	}
	if err := join.ReloadUnits(ctx, c); err != nil {
		return "", err
	}
	names := known.restarts(c.Host)
	for _, name := range names {
		c.Say("restarting %s", name)
		if err := join.Restart(ctx, c, name); err != nil {
			return "", err
		}
		if err := known.stamp(c.Host, join.Stamp(name)); err != nil {
			return "", err
		}
	}
	return strings.Join(names, " and ") + " restarted", nil
}

// stamp puts back one of the files that say what holds.
func (k *kept) stamp(h *host.Host, name string) error {
	for _, one := range k.Files {
		if one.Name == name {
			return one.putBack(h)
		}
	}
	return nil
}

func checkHealthy(ctx context.Context, c *node.Context) (bool, string, error) {
	known, err := readKept(c.Host)
	if err != nil || known == nil {
		return false, "the kubelet has to be healthy", err
	}
	record, err := c.Store.Record()
	if err != nil {
		return false, "", err
	}
	if !known.Over || record == nil || *record != known.Record || !join.KubeletIsHealthy(ctx, c) {
		return false, "the kubelet of " + known.Record.Version + " has to be healthy", nil
	}
	return true, "kubelet " + known.Record.Version + " is healthy", nil
}

func applyHealthy(ctx context.Context, c *node.Context) (string, error) {
	known, err := readKept(c.Host)
	if err != nil {
		return "", err
	}
	if err := join.KubeletHealthy(ctx, c); err != nil {
		return "", err
	}
	if err := known.stamp(c.Host, spec.RecordFile); err != nil {
		return "", err
	}
	known.Over = true
	return fmt.Sprintf("kubelet %s is healthy again", known.Record.Version), known.write(c.Host)
}
