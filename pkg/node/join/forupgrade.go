package join

import (
	"context"
	"maps"
	"slices"
	"strings"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// This file has the join's functions that upgrades use.

// NotThisNode returns the reason why the machine is not the operation's node; "" when it is.
func NotThisNode(ctx context.Context, c *node.Context) string {
	j := c.Operation.Join
	if why := notJoined(c.Host, j); why != "" {
		return why
	}
	return Foreign(ctx, c)
}

// Foreign returns the reason why the machine belongs to another cluster or owner; "" when it does not.
func Foreign(ctx context.Context, c *node.Context) string {
	foreign := findings{}
	checkOwner(ctx, c.Host, c.Operation.Join, &foreign)
	if len(foreign.problems) > 0 {
		return foreign.problems[0].text
	}
	return ""
}

// Validate returns the problems of an operation that no machine could carry out.
func Validate(j *spec.Join) []string { return validate(j) }

// ServerChange returns a remark when the node has another address of the cluster than the present one, and an error
// when the cluster no longer answers at the node's.
func ServerChange(ctx context.Context, c *node.Context) (string, error) {
	return checkServerChange(ctx, c)
}

// Cgroups returns the reason why a kubelet of the wanted version would not start with the machine's cgroups; "" when it
// would.
func Cgroups(ctx context.Context, c *node.Context) string {
	found := findings{}
	checkCgroups(ctx, c.Host, c.Operation.Join, &found)
	if len(found.problems) == 0 || ignored(c.Operation.Join, "SystemVerification") {
		return ""
	}
	return found.problems[0].text
}

// Binaries returns the files that the operation's bundle is installed as. Without an unpacked bundle it returns an
// error.
func Binaries(h *host.Host, j *spec.Join) ([]string, error) {
	all, err := installs(h, j)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errNoBundle
	}
	files := make([]string, len(all))
	for i, one := range all {
		files[i] = one.to
	}
	return files, nil
}

// ConfigurationFiles returns the files of a node that the operation, as an upgrade, writes or removes, without
// binaries, the kubelet's own folder and the services' stamps (see Stamp), and without those of a container runtime
// that is not Argosy's.
func ConfigurationFiles(h *host.Host, j *spec.Join) []string {
	names := []string{layout.ModulesFile, layout.SysctlFile, layout.Unit("kubelet"), layout.KubeletDropIn, settingsFile}
	if j.Containerd.External {
		return names
	}
	names = append(names, layout.RegistryLogins, layout.ContainerdConfig, layout.Unit("containerd"))
	changes := changedRegistries(h, j.Containerd.Registry)
	return slices.Concat(names, slices.Sorted(maps.Keys(changes.write)), changes.remove)
}

// Stamp returns the path of the file with the digest of the files and the program that a service was last started with.
func Stamp(name string) string { return service{name: name}.stampFile() }

// ConfiguredFor returns the version for which kubeadm has set up the node's configuration; "" when unknown.
func ConfiguredFor(c *node.Context) (string, error) {
	known, _, err := readSettings(c.Host)
	if err != nil || known.Upgraded != "" {
		return known.Upgraded, err
	}
	record, err := c.Store.Record()
	if err != nil || record == nil {
		return "", err
	}
	return record.Version, nil
}

// Untouched reports whether the machine still has the kubelet and the configuration of its record, so that no
// upgrade has begun.
func Untouched(c *node.Context, record *spec.Record) (bool, error) {
	known, found, err := readSettings(c.Host)
	if err != nil || record == nil || !found || known.Restart {
		return false, err
	}
	if known.Upgraded != "" && known.Upgraded != record.Version {
		return false, nil
	}
	j := *c.Operation.Join
	j.Bundle.SHA256 = record.Bundle
	return installed(c.Host, install{release(&j, "kubelet"), program(&j, "kubelet")}), nil
}

// UpgradeConfiguration runs kubeadm upgrade node with the bundle's own kubeadm, which is of the wanted version, and
// sets the kubelet's arguments. It restarts nothing: the kubelet reads them when its new program starts.
func UpgradeConfiguration(ctx context.Context, c *node.Context) error {
	j := c.Operation.Join
	known, _, err := readSettings(c.Host)
	if err != nil {
		return err
	}
	known.Restart = true
	if err := writeSettings(c.Host, known); err != nil {
		return err
	}
	argv := []string{c.Host.Path(release(j, "kubeadm")), "upgrade", "node"}
	// It makes the checks of a join again, where a newer kubeadm may have more of them.
	if names := ignoredByKubeadm(j); len(names) > 0 {
		argv = append(argv, "--ignore-preflight-errors="+strings.Join(names, ","))
	}
	_, err = c.Host.Runner.Run(ctx, host.Command{Argv: argv, Env: searchPath(j), Log: c.Log})
	if err != nil {
		return kubeadmFailed("upgrading the node's configuration: kubeadm upgrade node", j.Server, err)
	}
	if err := syncKubeadm(c.Host, caPath(j)); err != nil {
		return err
	}
	if wanted, same := wantedFlags(c.Host, known, currentArgs(c)); !same {
		if _, err := c.Host.WriteFile(layout.KubeletFlags, wanted, 0o644); err != nil {
			return err
		}
	}
	// This clears settings.Restart: the kubelet gets another program, and is restarted for that.
	return writeGivenSettings(c, j.KubernetesVersion)
}

// Restart restarts a service and waits until it has started. The kubelet's notes of another policy are removed.
func Restart(ctx context.Context, c *node.Context, name string) error {
	if name == "kubelet" && c.Host.Exists(layout.KubeletConfig) {
		if _, err := restartKubelet(ctx, c, "restart"); err != nil {
			return withJournal(ctx, c, name+".service", err)
		}
		return nil
	}
	if err := systemctl(ctx, c, "restart", name+".service"); err != nil {
		return withJournal(ctx, c, name+".service", err)
	}
	if name == "containerd" {
		if err := waitForSocket(ctx, c.Host, layout.ContainerdSocket); err != nil {
			return withJournal(ctx, c, name+".service", err)
		}
	}
	return nil
}

// ReloadUnits makes systemd read its units again.
func ReloadUnits(ctx context.Context, c *node.Context) error {
	return systemctl(ctx, c, "daemon-reload")
}

// WaitForKubelet waits until the installed kubelet runs and is healthy.
func WaitForKubelet(ctx context.Context, c *node.Context) error {
	return waitForHealthy(ctx, c)
}

// KubeletHealthy asks the kubelet once whether it is healthy.
func KubeletHealthy(ctx context.Context, c *node.Context) bool {
	return healthy(ctx, c.Host, c.Operation.Join) == nil
}
