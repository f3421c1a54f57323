package lab

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed manifests/kubeadm.yaml.tmpl
var kubeadmConfig string

//go:embed manifests/containerd.toml.tmpl
var containerdConfig string

//go:embed manifests/kube-proxy.yaml.tmpl
var kubeProxyConfig string

//go:embed manifests/containerd.service
var containerdUnit string

//go:embed manifests/kubelet.service
var kubeletUnit string

//go:embed manifests/10-kubeadm.conf
var kubeletDropIn string

//go:embed manifests/kube-proxy.service
var kubeProxyUnit string

//go:embed manifests/lab-cpus.sh
var processorsScript string

//go:embed manifests/lab-cpus.service
var processorsUnit string

// hostProcessors is how many the host cluster's scheduler counts. Ten control planes at once, each with an agent pod of
// a workflow, request seven; a small computer has two. Requests are weights: there are no more processors for it, and
// everything gets its share of those.
const hostProcessors = 16

// clusterShape has the differences between the lab's two clusters.
type clusterShape struct {
	Name, Address, Version, Pause string
	PodSubnet, ServiceSubnet      string
	// Schedulable clusters run ordinary pods on their control plane's machine.
	Schedulable bool
	Processors  int
}

func shapeOf(m MachineSpec, pause string) clusterShape {
	shape := clusterShape{
		Name: m.Name, Address: m.Address, Version: Version, Pause: pause,
		PodSubnet: memberPodSubnet, ServiceSubnet: "10.97.0.0/16", Processors: hostProcessors,
	}
	if m.Role == RoleHost {
		shape.PodSubnet, shape.ServiceSubnet, shape.Schedulable = "10.245.0.0/16", "10.96.0.0/16", true
	}
	return shape
}

// clusterFiles are the files that only a cluster machine has: containerd, kubelet and a configuration for kubeadm. The
// programs are bound, not copied.
func clusterFiles(m MachineSpec, pause string) ([]file, error) {
	shape := shapeOf(m, pause)
	files := []file{
		{path: "/etc/systemd/system/containerd.service", mode: 0o644, data: containerdUnit},
		{path: "/etc/systemd/system/kubelet.service", mode: 0o644, data: kubeletUnit},
		{path: "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", mode: 0o644, data: kubeletDropIn},
	}
	units := []string{"containerd", "kubelet"}
	rendered := map[string]string{
		"/etc/lab/kubeadm.yaml":       kubeadmConfig,
		"/etc/containerd/config.toml": containerdConfig,
	}
	if shape.Schedulable {
		files = append(files, file{path: "/etc/systemd/system/kube-proxy.service", mode: 0o644, data: kubeProxyUnit},
			file{path: "/usr/local/sbin/lab-cpus", mode: 0o755, data: processorsScript})
		units = append(units, "kube-proxy", "lab-cpus")
		rendered["/etc/lab/kube-proxy.yaml"] = kubeProxyConfig
		rendered["/etc/systemd/system/lab-cpus.service"] = processorsUnit
	}
	for _, path := range slices.Sorted(maps.Keys(rendered)) {
		data, err := render(path, rendered[path], shape)
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: path, mode: 0o644, data: data})
	}
	for _, unit := range units {
		files = append(files, file{
			path: "/etc/systemd/system/multi-user.target.wants/" + unit + ".service", link: true,
			data: "../" + unit + ".service",
		})
	}
	for _, program := range []string{
		"kubernetes/kubelet", "kubernetes/kubeadm", "kubernetes/kubectl",
		"kubernetes/kube-proxy",
		"containerd/containerd", "containerd/containerd-shim-runc-v2", "containerd/ctr", "runc/runc",
	} {
		files = append(files, file{
			path: "/usr/local/bin/" + filepath.Base(program), link: true,
			data: "/opt/lab/" + program,
		})
	}
	return files, nil
}

func render(name, text string, data any) (string, error) {
	parsed, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fmt.Errorf("parsing template of %q: %w", name, err)
	}
	var out strings.Builder
	if err := parsed.Execute(&out, data); err != nil {
		return "", fmt.Errorf("filling template of %q: %w", name, err)
	}
	return out.String(), nil
}

// ensureCluster makes the control plane on a machine that is up, with kubeadm,
// or finds it healthy, and copies its administrator's kubeconfig.
func (l *Lab) ensureCluster(ctx context.Context, m MachineSpec, a artifacts) error {
	if err := l.ensureImages(ctx, m, 0, len(a.Images)); err != nil {
		return err
	}
	if _, err := l.Exec(ctx, m.Name, "test", "-e", "/var/lib/lab/initialized"); err != nil {
		if err := l.initCluster(ctx, m); err != nil {
			return fmt.Errorf("making the control plane of %q: %w", m.Name, err)
		}
	}
	if err := l.fetchKubeconfig(ctx, m); err != nil {
		return err
	}
	return l.waitForNode(ctx, m)
}

func (l *Lab) initCluster(ctx context.Context, m MachineSpec) error {
	start := time.Now()
	// A half-made control plane of an interrupted attempt would be refused.
	if _, err := l.Exec(ctx, m.Name, "test", "-e", "/etc/kubernetes/admin.conf"); err == nil {
		if _, err := l.Exec(ctx, m.Name, "kubeadm", "reset", "--force"); err != nil {
			return fmt.Errorf("clearing a half-made control plane: %w", err)
		}
	}
	if _, err := l.Exec(ctx, m.Name, "kubeadm", "init", "--config=/etc/lab/kubeadm.yaml",
		"--ignore-preflight-errors=all",
		"--skip-phases=addon"); err != nil {
		return fmt.Errorf("running kubeadm: %w", err)
	}
	if _, err := l.Exec(ctx, m.Name, "sh", "-c",
		"mkdir -p /var/lib/lab && touch /var/lib/lab/initialized"); err != nil {
		return fmt.Errorf("noting that the control plane stands: %w", err)
	}
	l.logf("cluster %s: kubeadm init took %.1fs", m.Name, time.Since(start).Seconds())
	return nil
}

//go:embed manifests/load-images.sh
var loadImagesScript string

// ensureImages gives the machine's containerd the images first to last-1 of
// those bound to it, which no registry would.
func (l *Lab) ensureImages(ctx context.Context, m MachineSpec, first, last int) error {
	if _, err := l.Exec(ctx, m.Name, "sh", "-c", loadImagesScript, "sh", strconv.Itoa(first),
		strconv.Itoa(last-1)); err != nil {
		return fmt.Errorf("loading images on machine %q: %w", m.Name, err)
	}
	return nil
}

func (l *Lab) fetchKubeconfig(ctx context.Context, m MachineSpec) error {
	config, err := l.Exec(ctx, m.Name, "cat", "/etc/kubernetes/admin.conf")
	if err != nil {
		return fmt.Errorf("reading the kubeconfig of %q: %w", m.Name, err)
	}
	path := l.KubeconfigPath(m.Name)
	if old, err := os.ReadFile(path); err == nil && string(old) == config {
		return nil
	}
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return fmt.Errorf("writing kubeconfig %q: %w", path, err)
	}
	return nil
}

// waitForNode waits until the API server answers and the machine's own node is
// Ready.
func (l *Lab) waitForNode(ctx context.Context, m MachineSpec) error {
	return l.await(ctx, fmt.Sprintf("node %q", m.Name), func(ctx context.Context) error {
		out, err := l.Kubectl(ctx, m.Name, "get", "node", m.Name, "--output",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("its condition Ready is %q", out)
		}
		return err
	}, nil)
}

// Kubectl runs kubectl as administrator of a cluster, "host" or "team-a".
func (l *Lab) Kubectl(ctx context.Context, cluster string, args ...string) (string, error) {
	argv := append([]string{filepath.Join(l.BinDir(), "kubectl"), "--kubeconfig", l.KubeconfigPath(cluster)}, args...)
	return run(ctx, argv...)
}
