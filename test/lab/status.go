package lab

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// PrintEnv writes the shell lines that make a shell use the lab.
func (l *Lab) PrintEnv(w io.Writer) error {
	_, err := fmt.Fprintf(w, "export KUBECONFIG=%s\nexport PATH=%s:\"$PATH\"\nexport LAB_SSH_KEY=%s\nexport "+
		"LAB_MACHINES=%s\nexport LAB_DIR=%s\nexport TEAM_A_KUBECONFIG=%s\n",
		quote(l.KubeconfigPath("host")), quote(l.BinDir()), quote(l.KeyPath()),
		quote(strings.Join(names(l.Members()), " ")),
		quote(l.state), quote(l.KubeconfigPath("team-a")))
	if err != nil {
		return fmt.Errorf("printing the environment: %w", err)
	}
	return nil
}

// PrintStatus writes a table of the machines, and the state of the clusters and
// of everything that serves them.
func (l *Lab) PrintStatus(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	table := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	fmt.Fprintln(table, "MACHINE\tADDRESS\tLOGIN\tSTATE\tKUBELET\tNOTE")
	all := machines()
	lines := make([]string, len(all))
	var wait sync.WaitGroup
	for i, m := range all {
		wait.Go(func() { lines[i] = l.statusLine(ctx, m) })
	}
	wait.Wait()
	for _, line := range lines {
		fmt.Fprintln(table, line)
	}
	for _, m := range virtualMachines() {
		fmt.Fprintln(table, l.virtualMachineStatus(m))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the status: %w", err)
	}
	for _, m := range all {
		if m.hasCluster() {
			fmt.Fprintf(w, "cluster %-8s %s\n", m.Name, l.clusterState(ctx, m))
		}
	}
	for _, part := range l.parts(ctx) {
		fmt.Fprintf(w, "%-16s %s\n", part.name, part.state)
	}
	if _, err := fmt.Fprintf(w, "%-16s %s\n", "state folder", l.state); err != nil {
		return fmt.Errorf("printing the status: %w", err)
	}
	return nil
}

// part is a service of the lab beside machines and clusters.
type part struct{ name, state string }

func (l *Lab) parts(ctx context.Context) []part {
	pool := balancerPool()
	return []part{
		{"argo", stateOf(l.argoReady(ctx), l.argo+", ready", "not ready")},
		{"dns", stateOf(l.deploymentReady(ctx, dns()), "ready", "not ready")},
		{"storage", stateOf(l.deploymentReady(ctx, storage()), "class "+storageClass+", ready", "not ready")},
		{"load balancer", stateOf(l.daemonRuns(balancerDaemon), pool.first.String()+" to "+pool.last.String(),
			"not running")},
		{"bundles", stateOf(l.daemonRuns(repositoryDaemon), RepositoryURL, "not running")},
		{"registry", stateOf(l.daemonRuns(registryDaemon), RegistryAddress, "not running")},
		{"postgresql", stateOf(l.daemonRuns(postgresDaemon), postgresAddress, "not running, starts when a test asks")},
	}
}

func stateOf(good bool, yes, no string) string {
	if good {
		return yes
	}
	return no
}

func (l *Lab) statusLine(ctx context.Context, m MachineSpec) string {
	state, kubelet := "down", "-"
	if l.running(m) {
		state = "booting"
		if greeting(ctx, m) == nil {
			state = "up"
		}
		kubelet = l.kubeletVersion(ctx, m)
	}
	login := m.Login
	if m.Bastion != "" {
		login += " via " + m.Bastion
	}
	return strings.Join([]string{m.Name, m.Address, login, state, kubelet, m.Note}, "\t")
}

// kubeletVersion is the version of the kubelet that runs on a machine.
func (l *Lab) kubeletVersion(ctx context.Context, m MachineSpec) string {
	if _, err := l.Exec(ctx, m.Name, "pgrep", "-x", "kubelet"); err != nil {
		return "clean"
	}
	out, err := l.Exec(ctx, m.Name, "sh", "-c", `exec "/proc/$(pgrep -o -x kubelet)/exe" --version`)
	if err != nil {
		return "running"
	}
	return strings.TrimPrefix(strings.TrimSpace(out), "Kubernetes ")
}

func (l *Lab) clusterState(ctx context.Context, m MachineSpec) string {
	if !exists(l.KubeconfigPath(m.Name)) || !exists(filepath.Join(l.BinDir(), "kubectl")) {
		return "not made"
	}
	if out, err := l.Kubectl(ctx, m.Name, "get", "--raw", "/readyz", "--request-timeout=3s"); err != nil ||
		out != "ok" {
		return "not ready"
	}
	nodes, err := l.Kubectl(ctx, m.Name, "get", "nodes", "--output", "name")
	if err != nil {
		return "ready, nodes unknown"
	}
	return fmt.Sprintf("ready, %d nodes, https://%s:6443", len(strings.Fields(nodes)), m.Address)
}
