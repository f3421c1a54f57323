package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/join"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/original"
	"argosy.dev/argosy/pkg/node/spec"
)

// checkKept holds when files of this node from before the upgrade are kept.
func checkKept(ctx context.Context, c *node.Context) (bool, string, error) {
	known, err := readKeptFor(c)
	if err != nil {
		return false, "", err
	}
	j := c.Operation.Join
	switch {
	case known == nil:
		return false, "", errclass.With(errclass.Permanent,
			errors.New("there are no kept files: no upgrade has changed the machine"))
	case known.Record.ClusterUID != j.ClusterUID || known.Record.NodeName != j.NodeName:
		return false, "", errclass.Errorf(errclass.Permanent, "the kept files are of node %q of cluster %q",
			known.Record.NodeName, known.Record.Cluster)
	case known.To != j.Bundle.SHA256:
		return false, "", errclass.Errorf(errclass.Permanent,
			"the kept files are from before another upgrade, of %s", known.Record.Version)
	}
	if why := join.Foreign(ctx, c); why != "" {
		return false, "", node.Problems(errclass.Permanent, "the machine cannot be rolled back", []string{why})
	}
	return true, fmt.Sprintf("%s of %s kept", count.Of(len(known.Files), "file"), known.Record.Version), nil
}

// holds reports whether the file is as it was kept.
func (k keptOne) holds(h *host.Host, logins map[string]spec.RegistryLogin) bool {
	if k.Target != "" {
		target, err := os.Readlink(h.Path(k.Name))
		return err == nil && target == k.Target
	}
	if k.Copy == "" {
		return !h.Exists(k.Name)
	}
	if !k.Binary {
		content, err := k.content(h, logins)
		info, there := os.Lstat(h.Path(k.Name))
		return err == nil && there == nil && info.Mode() == k.Mode && h.Holds(k.Name, content)
	}
	return join.SameFile(h.Path(k.Copy), h.Path(k.Name))
}

// content returns the content to restore.
func (k keptOne) content(h *host.Host, logins map[string]spec.RegistryLogin) ([]byte, error) {
	content, err := h.ReadFile(k.Copy)
	if err != nil || k.Name != layout.RegistryLogins {
		return content, err
	}
	current, err := h.ReadFile(k.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return join.WithLogins(content, current, logins)
}

// restore restores the kept file, by rename.
func (k keptOne) restore(h *host.Host, logins map[string]spec.RegistryLogin) error {
	switch {
	case k.Target != "":
		return h.Link(k.Target, k.Name)
	case k.Copy == "":
		if err := h.Remove(k.Name); err != nil {
			return err
		}
		if k.NoFolder {
			// One that holds something else stays. An empty one may mean something: containerd looks for a registry's.
			_ = h.RemoveOne(filepath.Dir(k.Name))
		}
		return nil
	case k.Binary:
		if err := h.Replace(k.Copy, k.Name); err != nil {
			return fmt.Errorf("restoring %q: %w", k.Name, err)
		}
		return nil
	}
	content, err := k.content(h, logins)
	if err != nil {
		return fmt.Errorf("reading the kept copy of %q: %w", k.Name, err)
	}
	// An original has an owner and a time as well.
	if same, err := original.RestoreSame(h, k.Name, content); same || err != nil {
		return err
	}
	_, err = h.WriteFile(k.Name, content, k.Mode)
	return err
}

// isStamp reports whether a file is a service's stamp. It is restored after the service was restarted.
func isStamp(name string) bool {
	return name == join.Stamp("containerd") || name == join.Stamp("kubelet")
}

// readKeptFor reads the description of kept files, for an operation that may carry logins of registries.
func readKeptFor(c *node.Context) (*kept, error) {
	known, err := readKept(c.Host)
	if known != nil {
		known.logins = c.Operation.Secrets.Registries
	}
	return known, err
}

// differing returns the files that differ from the kept ones, with the stamps or without.
func (k *kept) differing(h *host.Host, stamps bool) []keptOne {
	return slices.DeleteFunc(slices.Clone(k.Files), func(one keptOne) bool {
		return isStamp(one.Name) != stamps || one.holds(h, k.logins)
	})
}

func checkRestore(_ context.Context, c *node.Context) (bool, string, error) {
	known, err := readKeptFor(c)
	if err != nil || known == nil {
		return false, "no files are kept", err
	}
	if known.Over {
		// Changes of a later join are not rolled back.
		return true, "the machine is rolled back to " + known.Record.Version + " already", nil
	}
	record, err := c.Store.Record()
	if err != nil {
		return false, "", err
	}
	var differ []string
	for _, one := range known.differing(c.Host, false) {
		differ = append(differ, filepath.Base(one.Name))
	}
	if record == nil || *record != known.Record {
		differ = append(differ, "the machine's record")
	}
	if len(differ) > 0 {
		return false, "files to restore: " + strings.Join(differ, ", "), nil
	}
	return true, "all files are those of " + known.Record.Version, nil
}

func applyRestore(_ context.Context, c *node.Context) (string, error) {
	known, err := readKeptFor(c)
	if err != nil {
		return "", err
	}
	differing := known.differing(c.Host, false)
	// The services to restart are written down first, since later no file shows them. From here on, an upgrade that
	// comes instead of the rest of this rollback does everything again.
	for _, name := range toRestart(c.Host, differing) {
		if !slices.Contains(known.Restart, name) {
			known.Restart = append(known.Restart, name)
		}
		if err := c.Host.Remove(join.Stamp(name)); err != nil {
			return "", err
		}
	}
	if err := errors.Join(known.write(c.Host), c.Store.WriteRecord(&known.Record), c.Host.SyncFolders()); err != nil {
		return "", err
	}
	if err := noteRestoredOriginals(c.Host, differing); err != nil {
		return "", err
	}
	for _, one := range differing {
		if err := one.restore(c.Host, c.Operation.Secrets.Registries); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s of %s restored", count.Of(len(differing), "file"), known.Record.Version), nil
}

// noteRestoredOriginals notes the originals of paths that get Argosy's own files back: where the upgrade removed one,
// the owner's was restored.
func noteRestoredOriginals(h *host.Host, differing []keptOne) error {
	note, err := original.Read(h)
	if err != nil {
		return err
	}
	var files []original.File
	for _, one := range differing {
		entry := note.Entries[one.Name]
		if one.Copy == "" || one.Binary || entry == nil || !entry.Released {
			continue
		}
		content, err := h.ReadFile(one.Copy)
		if err != nil {
			return fmt.Errorf("reading the kept copy of %q: %w", one.Name, err)
		}
		files = append(files, original.File{
			Name: one.Name, SHA256: original.DigestOf(content), Secret: one.Name == layout.RegistryLogins,
		})
	}
	_, err = original.Take(h, files...)
	return err
}

// toRestart returns the services to restart after these files are restored, in order: the kubelet for any of them, and
// containerd for its own. It starts its shims and runc anew each time.
func toRestart(h *host.Host, differing []keptOne) []string {
	if len(differing) == 0 {
		return nil
	}
	ofContainerd := func(one keptOne) bool {
		switch one.Name {
		case layout.ContainerdConfig, layout.RegistryLogins, layout.Unit("containerd"):
			return true
		}
		// Another bundle may bring the same containerd, which then was not restarted.
		return filepath.Base(one.Name) == "containerd" && !one.sameContent(h)
	}
	if slices.ContainsFunc(differing, ofContainerd) {
		return []string{"containerd", "kubelet"}
	}
	return []string{"kubelet"}
}

// sameContent reports whether the present file has the content of the kept one.
func (k keptOne) sameContent(h *host.Host) bool {
	before, err := os.Stat(h.Path(k.Copy))
	if k.Copy == "" || err != nil {
		return false
	}
	if now, err := os.Stat(h.Path(k.Name)); err != nil || now.Size() != before.Size() {
		return false
	}
	content, err := h.ReadFile(k.Copy)
	return err == nil && h.Holds(k.Name, content)
}

func checkServices(_ context.Context, c *node.Context) (bool, string, error) {
	known, err := readKeptFor(c)
	switch {
	case err != nil || known == nil:
		return false, "services have to be restarted", err
	case len(known.Restart) > 0:
		return false, strings.Join(known.Restart, " and ") + " have to be restarted", nil
	case !known.Over && len(known.differing(c.Host, true)) > 0:
		return false, "the stamps of the services have to be restored", nil
	}
	return true, "all services run with the restored files", nil
}

func applyServices(ctx context.Context, c *node.Context) (string, error) {
	known, err := readKeptFor(c)
	if err != nil {
		return "", err
	}
	detail := "no service restarted"
	if len(known.Restart) > 0 {
		detail = strings.Join(known.Restart, " and ") + " restarted"
		if err := join.ReloadUnits(ctx, c); err != nil {
			return "", err
		}
	}
	for len(known.Restart) > 0 {
		name := known.Restart[0]
		c.SetMessage("restarting %s", name)
		if err := join.Restart(ctx, c, name); err != nil {
			return "", err
		}
		known.Restart = known.Restart[1:]
		if err := known.write(c.Host); err != nil {
			return "", err
		}
	}
	for _, one := range known.differing(c.Host, true) {
		if err := one.restore(c.Host, c.Operation.Secrets.Registries); err != nil {
			return "", err
		}
	}
	return detail, nil
}

func checkHealthy(ctx context.Context, c *node.Context) (bool, string, error) {
	known, err := readKeptFor(c)
	if err != nil || known == nil {
		return false, "the kubelet has to be healthy", err
	}
	if !known.Over || !join.KubeletHealthy(ctx, c) {
		return false, "the kubelet of " + known.Record.Version + " has to be healthy", nil
	}
	return true, "kubelet " + known.Record.Version + " is healthy", nil
}

func applyHealthy(ctx context.Context, c *node.Context) (string, error) {
	known, err := readKeptFor(c)
	if err != nil {
		return "", err
	}
	if err := join.WaitForKubelet(ctx, c); err != nil {
		return "", err
	}
	known.Over = true
	return fmt.Sprintf("kubelet %s is healthy again", known.Record.Version), known.write(c.Host)
}
