package site

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// Cluster is a cluster that machines join. Its namespace on the lab's host cluster, which holds its documents and its
// workflows, has the same name.
type Cluster struct {
	site *Site
	Name string
	// Kubeconfig returns the path of the administrator's kubeconfig. That of a hosted cluster is there once it is
	// provisioned.
	Kubeconfig func(ctx context.Context) (string, error)
}

// TeamA returns the cluster whose control plane the lab makes with kubeadm.
func (s *Site) TeamA() *Cluster {
	return &Cluster{site: s, Name: TeamA, Kubeconfig: func(context.Context) (string, error) {
		return s.Lab.KubeconfigPath(TeamA), nil
	}}
}

// Kubectl runs kubectl against the cluster.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	kubeconfig, err := c.Kubeconfig(ctx)
	if err != nil {
		return "", err
	}
	return c.site.HostKubectl(ctx, append([]string{"--kubeconfig", kubeconfig}, args...)...)
}

// ApplyManifest sets objects in the cluster.
func (c *Cluster) ApplyManifest(ctx context.Context, manifest string) error {
	kubeconfig, err := c.Kubeconfig(ctx)
	if err != nil {
		return err
	}
	_, err = c.site.run(ctx, []byte(manifest), "kubectl", "--kubeconfig", kubeconfig, "apply", "-f", "-")
	return err
}

// HostKubectl runs kubectl against the host cluster, in the cluster's namespace.
func (c *Cluster) HostKubectl(ctx context.Context, args ...string) (string, error) {
	return c.site.HostKubectl(ctx, append([]string{"-n", c.Name}, args...)...)
}

// HostApply sets objects in the cluster's namespace of the host cluster.
func (c *Cluster) HostApply(ctx context.Context, objects ...any) error {
	return c.site.ApplyIn(ctx, c.Name, objects)
}

// Argo runs argo in the cluster's namespace of the host cluster.
func (c *Cluster) Argo(ctx context.Context, args ...string) (string, error) {
	return c.site.run(ctx, nil, "argo", append([]string{"-n", c.Name}, args...)...)
}

// PortForward asks a port of a pod for its page, through kubectl port-forward.
func (c *Cluster) PortForward(ctx context.Context, target string, port int) (string, error) {
	kubeconfig, err := c.Kubeconfig(ctx)
	if err != nil {
		return "", err
	}
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	command := exec.CommandContext(ctx, c.site.tool("kubectl"), "--kubeconfig", kubeconfig, "port-forward", target,
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
		return "", fmt.Errorf("reading the output of kubectl port-forward: %w", err)
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

// Submit submits a workflow template for the cluster, with parameters as "name=value", and returns the workflow's name.
func (c *Cluster) Submit(ctx context.Context, template string, parameters ...string) (string, error) {
	args := []string{"submit", "--from", "workflowtemplate/" + template, "-p", "cluster=" + c.Name, "-o", "name"}
	for _, parameter := range parameters {
		args = append(args, "-p", parameter)
	}
	out, err := c.Argo(ctx, args...)
	return strings.TrimSpace(out), err
}
