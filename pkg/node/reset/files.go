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

	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/kubeconfig"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/registry"
)

// nodeDirs have only files of a node's programs: credentials and manifests, the kubelet's state, pods' logs, and the
// folder of volume plugins.
var nodeDirs = []string{layout.KubernetesDir, layout.KubeletDir, "/var/log/pods", "/var/log/containers"}

// pluginDirs are made by the kubelet and containerd, and usually are empty.
var pluginDirs = []string{
	"/opt/containerd/bin", "/opt/containerd/lib", "/opt/containerd",
	"/usr/libexec/kubernetes/kubelet-plugins/volume/exec", "/usr/libexec/kubernetes/kubelet-plugins/volume",
	"/usr/libexec/kubernetes/kubelet-plugins", "/usr/libexec/kubernetes",
}

// dataDirs returns the folders whose data are removed.
func (c *cleaner) dataDirs(n *node.Context, files *tree) []dataDir {
	var dirs []dataDir
	if c.ownsNode(n.Host) {
		for _, dir := range nodeDirs {
			dirs = append(dirs, files.nodeData(dir))
		}
	}
	if ownsContainerd(n.Host) {
		owners := dataOfOwner(n.Host)
		dirs = append(dirs, slices.DeleteFunc(containerdData(n.Host), func(dir dataDir) bool {
			return slices.Contains(owners, dir.path)
		})...)
	}
	if n.Operation.Reset.RemoveVolumes && c.ownsNode(n.Host) {
		for _, volume := range volumes(n) {
			dirs = append(dirs, dataDir{path: volume})
		}
	}
	return dirs
}

// markedFiles returns the single files that Argosy wrote, by their first line, so that one that was replaced stays.
func markedFiles(h *host.Host) []string {
	// containerd's configuration tells where the registries' files are, so it goes after them. The unit tells that
	// containerd and its data are Argosy's, so it goes last.
	names := append(registry.Written(h, registry.Folders(h)...),
		layout.Unit("kubelet"), layout.KubeletDropIn, layout.ModulesFile, layout.SysctlFile, layout.RegistryLogins,
		layout.ContainerdConfig, layout.Unit("containerd"),
	)
	var marked []string
	for _, name := range names {
		if inspect.Marked(h, name) || lostContent(h, name) {
			marked = append(marked, name)
		}
	}
	return marked
}

// tempFiles returns temporary files that a crash left.
func tempFiles(h *host.Host, dirs ...string) []string {
	var found []string
	for _, dir := range dirs {
		names, _ := filepath.Glob(h.Path(host.TempName(filepath.Join(dir, "*"))))
		for _, name := range names {
			found = append(found, strings.TrimPrefix(name, h.Root))
		}
	}
	return found
}

// settingsDirs returns the folders of marked files; a registry's is any beneath one of the registries' folders.
func settingsDirs(h *host.Host) []string {
	dirs := []string{
		layout.UnitsDir, filepath.Dir(layout.EnabledLink("kubelet")), filepath.Dir(layout.KubeletDropIn),
		filepath.Dir(layout.ModulesFile), filepath.Dir(layout.SysctlFile), layout.ContainerdDir,
	}
	for _, folder := range registry.Folders(h) {
		dirs = append(dirs, filepath.Join(folder, "*"))
	}
	return dirs
}

// ownCA returns the path of the cluster's certificate authority that the user chose, if it is outside kubeadm's folder
// and the file is this cluster's; else "".
func ownCA(n *node.Context) string {
	file := n.Operation.Reset.CACertPath
	if file == "" || isOriginal(n.Host, file) {
		return ""
	}
	content, err := n.Host.ReadFile(file)
	if err != nil {
		return ""
	}
	trusted := []byte(n.Operation.Reset.CACert + "\n")
	if config, _ := kubeconfig.Read(n.Host, inspect.KubeletConf); config != nil {
		trusted = append(trusted, config.CA...)
	}
	if !kubeconfig.SameCA(content, trusted) {
		return ""
	}
	return file
}

// volumeName matches local-path-provisioner's folder of a volume: volume, the claim's namespace, its name.
var volumeName = regexp.MustCompile(`^pvc-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}_.+_.+$`)

// volumes returns the folders of local volumes.
func volumes(n *node.Context) []string {
	entries, _ := os.ReadDir(n.Host.Path(n.Operation.Reset.VolumesPath))
	var found []string
	for _, entry := range entries {
		if entry.IsDir() && volumeName.MatchString(entry.Name()) {
			found = append(found, filepath.Join(n.Operation.Reset.VolumesPath, entry.Name()))
		}
	}
	return found
}

func (c *cleaner) findFiles(_ context.Context, n *node.Context) ([]string, error) {
	files, err := newTree(n.Host)
	if err != nil {
		return nil, err
	}
	back, err := readOriginals(n, false)
	if err != nil {
		return nil, err
	}
	found := append(back.find(), unnoted(n.Host, back)...)
	found = append(found, tempFiles(n.Host, settingsDirs(n.Host)...)...)
	if ca := ownCA(n); ca != "" && c.ownsNode(n.Host) {
		found = append(found, ca)
	}
	for _, dir := range c.dataDirs(n, files) {
		if files.leftIn(dir) {
			found = append(found, dir.path)
		}
	}
	return found, nil
}

func (c *cleaner) removeFiles(ctx context.Context, n *node.Context) (string, error) {
	files, err := newTree(n.Host)
	if err != nil {
		return "", err
	}
	// The CA is told by the kubelet's credentials, so it goes before them.
	if ca := ownCA(n); ca != "" && c.ownsNode(n.Host) {
		if err := n.Host.Remove(ca); err != nil {
			return "", err
		}
	}
	for _, dir := range c.dataDirs(n, files) {
		n.SetMessage("removing %s", dir.path)
		if err := files.clearIn(ctx, dir); err != nil {
			return "", err
		}
	}
	detail, err := removeSettings(n)
	if err != nil {
		return "", err
	}
	prune(n.Host, pluginDirs...)
	if n.Operation.Reset.RemoveVolumes {
		prune(n.Host, n.Operation.Reset.VolumesPath)
	}
	if _, err := n.Host.Runner.Run(ctx, systemctl(n, "daemon-reload")); err != nil {
		return "", fmt.Errorf("reloading systemd's units: %w", err)
	}
	return "credentials, settings and data removed" + detail + keptData(n.Host) + keptVolumes(n), nil
}

// unnoted returns files of Argosy's that versions before the note wrote.
func unnoted(h *host.Host, r originals) []string { return slices.DeleteFunc(markedFiles(h), r.noted) }

// removeSettings removes the files that Argosy wrote, and restores the originals.
func removeSettings(n *node.Context) (string, error) {
	folders := registry.Folders(n.Host)
	if err := n.Host.Remove(tempFiles(n.Host, settingsDirs(n.Host)...)...); err != nil {
		return "", err
	}
	back, err := readOriginals(n, false)
	if err != nil {
		return "", err
	}
	if err := removeUnnoted(n.Host, back, folders); err != nil {
		return "", err
	}
	restored, edited, err := back.restore(n.Host)
	if err != nil {
		return "", err
	}
	for _, name := range back.due {
		if dir := filepath.Dir(name); slices.Contains(folders, filepath.Dir(dir)) {
			pruneMade(n.Host, back.note, dir)
		}
	}
	pruneMade(n.Host, back.note, append(folders, filepath.Dir(layout.KubeletDropIn), layout.ContainerdDir)...)
	detail := editsRemark(edited)
	if restored > 0 {
		detail = ", " + count.Of(restored, "original") + " restored" + detail
	}
	return detail, nil
}

// removeUnnoted removes the files that versions before the note wrote, and restores the originals that they kept.
func removeUnnoted(h *host.Host, back originals, folders []string) error {
	for _, name := range unnoted(h, back) {
		err := h.Rename(name+layout.KeptSuffix, name)
		if errors.Is(err, fs.ErrNotExist) {
			err = h.Remove(name)
		}
		if err != nil {
			return fmt.Errorf("removing %q: %w", name, err)
		}
		if dir := filepath.Dir(name); slices.Contains(folders, filepath.Dir(dir)) {
			prune(h, dir)
		}
	}
	return nil
}

// keptVolumes returns a remark on volumes that stay.
func keptVolumes(n *node.Context) string {
	if kept := volumes(n); len(kept) > 0 && !n.Operation.Reset.RemoveVolumes {
		return fmt.Sprintf("; %s left in %s, since removeVolumes is not set", count.Of(len(kept), "volume"),
			n.Operation.Reset.VolumesPath)
	}
	return ""
}
