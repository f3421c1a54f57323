package site

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"argosy.dev/argosy/test/lab"
)

// Provisioned is a cluster whose control plane Argosy makes on the lab's host cluster, in a namespace of its own name.
type Provisioned struct {
	site *Site
	// Name of the cluster and of its namespace.
	Name string
	// Machines of the fleet; may be empty.
	Machines []string
	// VCluster changes vcluster.yaml before it is applied, and Fleet argosy.yaml.
	VCluster, Fleet func(document map[string]any)
}

// Provisioned names a cluster; nothing is made before Apply.
func (s *Site) Provisioned(name string, machines ...string) *Provisioned {
	return &Provisioned{site: s, Name: name, Machines: machines}
}

// Apply brings the namespace to hold what README tells users to apply, and the cluster's documents.
func (p *Provisioned) Apply(ctx context.Context) error {
	if err := p.site.apply(ctx, p.Name, []any{object("v1", "Namespace", p.Name, nil)}); err != nil {
		return err
	}
	for _, folder := range []string{"install", "install/rbac/provision"} {
		if _, err := p.Kubectl(ctx, "apply", "-k", filepath.Join(p.site.Source, folder)); err != nil {
			return fmt.Errorf("installing Argosy in namespace %q: %w", p.Name, err)
		}
	}
	return p.ApplyDocuments(ctx)
}

// ApplyDocuments sets the cluster's documents and Secrets alone.
func (p *Provisioned) ApplyDocuments(ctx context.Context) error {
	secrets, err := p.site.sshSecrets()
	if err != nil {
		return err
	}
	config, err := p.configMap()
	if err != nil {
		return err
	}
	return p.site.apply(ctx, p.Name, append(secrets, config))
}

func (p *Provisioned) configMap() (any, error) {
	vcluster := p.vcluster()
	if p.VCluster != nil {
		p.VCluster(vcluster)
	}
	fleet, err := p.fleet()
	if err != nil {
		return nil, err
	}
	if p.Fleet != nil {
		p.Fleet(fleet)
	}
	data := map[string]any{}
	for key, document := range map[string]map[string]any{"vcluster.yaml": vcluster, "argosy.yaml": fleet} {
		if data[key], err = toYAML(document); err != nil {
			return nil, err
		}
	}
	return object("v1", "ConfigMap", p.Name, map[string]any{"data": data}), nil
}

// vcluster is the specification's own example, and what the lab's machines need.
func (p *Provisioned) vcluster() map[string]any {
	return map[string]any{
		"privateNodes": map[string]any{
			"enabled": true,
			// The lab's machines have no cgroups of systemd's, little disk, and no name server.
			"kubelet": map[string]any{"config": map[string]any{
				"cgroupDriver": "cgroupfs", "resolvConf": "/etc/resolv.conf",
				"evictionHard": map[string]any{"memory.available": "50Mi", "nodefs.available": "1%",
					"imagefs.available": "1%"},
				"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
			}},
		},
		"controlPlane": map[string]any{
			"distro":   map[string]any{"k8s": map[string]any{"image": map[string]any{"tag": Version}}},
			"service":  map[string]any{"spec": map[string]any{"type": "LoadBalancer"}},
			"advanced": map[string]any{"defaultImageRegistry": lab.RegistryAddress},
		},
		"networking": map[string]any{"podCIDR": "10.64.0.0/16", "serviceCIDR": "10.128.0.0/16"},
		// Their kernel's connection table can't be resized from inside.
		"deploy": map[string]any{"kubeProxy": map[string]any{"config": map[string]any{
			"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s",
				"tcpCloseWaitTimeout": "0s"},
		}}},
	}
}

func (p *Provisioned) fleet() (map[string]any, error) {
	fleet := map[string]any{
		"apiVersion": "argosy.dev/v1alpha1",
		"kind":       "Fleet",
		"ssh":        map[string]any{"secret": rootSecret, "knownHostsSecret": knownHostsSecret},
	}
	var machines []any
	for _, m := range p.site.Lab.Members() {
		if !slices.Contains(p.Machines, m.Name) {
			continue
		}
		entry, err := p.site.machine(m)
		if err != nil {
			return nil, err
		}
		machines = append(machines, entry)
	}
	if machines != nil {
		fleet["machines"] = machines
	}
	return fleet, nil
}

// Kubectl runs kubectl against the host cluster, in the cluster's namespace.
func (p *Provisioned) Kubectl(ctx context.Context, args ...string) (string, error) {
	return p.site.Kubectl(ctx, append([]string{"-n", p.Name}, args...)...)
}

// Argo runs argo in the cluster's namespace.
func (p *Provisioned) Argo(ctx context.Context, args ...string) (string, error) {
	return p.site.run(ctx, "host", nil, "argo", append([]string{"-n", p.Name}, args...)...)
}

// Inside runs kubectl against the cluster itself, with the kubeconfig that provisioning wrote.
func (p *Provisioned) Inside(ctx context.Context, args ...string) (string, error) {
	kubeconfig, err := p.Kubeconfig(ctx)
	if err != nil {
		return "", err
	}
	return p.site.Kubectl(ctx, append([]string{"--kubeconfig", kubeconfig}, args...)...)
}

// Kubeconfig writes the cluster's kubeconfig to a file and returns its path.
func (p *Provisioned) Kubeconfig(ctx context.Context) (string, error) {
	encoded, err := p.Kubectl(ctx, "get", "secret", p.Name+"-kubeconfig", "-o",
		`go-template={{index .data "value" | base64decode}}`)
	if err != nil {
		return "", fmt.Errorf("reading the kubeconfig of cluster %q: %w", p.Name, err)
	}
	path := filepath.Join(p.site.Lab.StateDir(), p.Name+".kubeconfig")
	if err := os.WriteFile(path, []byte(encoded), 0o600); err != nil {
		return "", fmt.Errorf("writing the kubeconfig of cluster %q: %w", p.Name, err)
	}
	return path, nil
}

// Remove deletes the namespace and waits until it is gone.
func (p *Provisioned) Remove(ctx context.Context) error {
	_, err := p.site.Kubectl(ctx, "delete", "namespace", p.Name, "--ignore-not-found", "--timeout=120s")
	return err
}

// pushPlugin puts the plugin's image into the lab's registry as well, where the control planes' pods get it from. The
// host machine, which has pulled an older one of that name, gets the name too.
func (s *Site) pushPlugin(ctx context.Context) error {
	const tag = "argosy-dev/executor-plugin:v0.1.0"
	image, err := tarball.ImageFromPath(filepath.Join(s.Source, "bin", "executor-plugin.tar"), nil)
	if err != nil {
		return fmt.Errorf("reading the plugin's image: %w", err)
	}
	reference, err := name.ParseReference(strings.Join([]string{lab.RegistryAddress, tag}, "/"), name.Insecure)
	if err != nil {
		return fmt.Errorf("naming the plugin's image: %w", err)
	}
	if err := remote.Write(reference, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing the plugin's image: %w", err)
	}
	if _, err := s.Lab.Exec(ctx, "host", "ctr", "--namespace", "k8s.io", "images", "tag", "--force", "ghcr.io/"+tag,
		reference.Name()); err != nil {
		return fmt.Errorf("naming the plugin's image on the host machine: %w", err)
	}
	return nil
}

// ApplyInside sets objects in the cluster itself.
func (p *Provisioned) ApplyInside(ctx context.Context, manifest string) error {
	kubeconfig, err := p.Kubeconfig(ctx)
	if err != nil {
		return err
	}
	_, err = p.site.run(ctx, "host", []byte(manifest), "kubectl", "--kubeconfig", kubeconfig, "apply", "-f", "-")
	return err
}

// Forwarded asks a port of a pod for its page, through kubectl port-forward.
func (p *Provisioned) Forwarded(ctx context.Context, target string, port int) (string, error) {
	kubeconfig, err := p.Kubeconfig(ctx)
	if err != nil {
		return "", err
	}
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	command := exec.CommandContext(ctx, p.site.tool("kubectl"), "--kubeconfig", kubeconfig, "port-forward", target,
		fmt.Sprintf(":%d", port))
	out, err := command.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("preparing kubectl port-forward: %w", err)
	}
	if err := command.Start(); err != nil {
		return "", fmt.Errorf("starting kubectl port-forward: %w", err)
	}
	defer func() { stop(); _ = command.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n') // Forwarding from 127.0.0.1:40123 -> 8080
	if err != nil {
		return "", fmt.Errorf("reading what kubectl port-forward says: %w", err)
	}
	address, _, _ := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return "", fmt.Errorf("asking %q: %w", address, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking %q: %w", address, err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	return string(page), err
}

// Set puts a value at a path of a document, e.g. "controlPlane.statefulSet.highAvailability.replicas".
func Set(document map[string]any, path string, value any) {
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := document[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			document[name] = inner
		}
		document = inner
	}
	document[names[len(names)-1]] = value
}

// ApplyHost sets objects in the cluster's namespace of the host cluster.
func (p *Provisioned) ApplyHost(ctx context.Context, objects ...any) error {
	return p.site.apply(ctx, p.Name, objects)
}
