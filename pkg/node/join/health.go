package join

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"argosy.dev/argosy/pkg/node"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/inspect"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/spec"
)

// healthyTimeout bounds the wait for a healthy kubelet.
const healthyTimeout = 90 * time.Second

func checkHealthy(ctx context.Context, c *node.Context) (bool, string, error) {
	j := c.Operation.Join
	if err := healthy(ctx, c.Host, j); err != nil {
		c.AddChanges(spec.Change{What: "service kubelet", Effect: spec.RestartsKubelet})
		return false, err.Error(), nil
	}
	record, err := c.Store.Record()
	if errors.Is(err, node.ErrUnreadable) {
		return false, fmt.Sprintf("the record has to be written anew: %v", err), nil
	}
	if err != nil {
		return false, "", err
	}
	if wanted := recordOf(c.Operation, record); record == nil || *record != *wanted {
		return false, spec.RecordFile + " has to be written", nil
	}
	return true, fmt.Sprintf("kubelet %s is healthy", j.KubernetesVersion), nil
}

func applyHealthy(ctx context.Context, c *node.Context) (string, error) {
	j := c.Operation.Join
	if !kubeletRunningFrom(c.Host, program(j, "kubelet")) {
		// To systemd a kubelet counts as started as soon as it is forked, and then a start does nothing. One that runs
		// from another file is not the installed one and is restarted.
		verb := "start"
		if kubeletRunning(c.Host) {
			verb = "restart"
		}
		if err := systemctl(ctx, c, verb, "kubelet.service"); err != nil {
			return "", withJournal(ctx, c, "kubelet.service", err)
		}
	}
	if err := waitForHealthy(ctx, c); err != nil {
		return "", err
	}
	record, err := c.Store.Record()
	if errors.Is(err, node.ErrUnreadable) {
		// The kubelet's credentials, which the phases before have checked, prove that the machine is this node.
		fmt.Fprintf(c.Log, "writing the record anew: %v\n", err)
	} else if err != nil {
		return "", err
	}
	if err := c.Store.WriteRecord(recordOf(c.Operation, record)); err != nil {
		return "", err
	}
	return fmt.Sprintf("kubelet %s is healthy", j.KubernetesVersion), nil
}

// waitForHealthy waits until the kubelet is healthy, and fails at once when it is in a crash loop.
func waitForHealthy(ctx context.Context, c *node.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthyTimeout)
	defer cancel()
	starts := &crashLoop{unit: "kubelet.service", first: -1}
	for {
		err := healthy(ctx, c.Host, c.Operation.Join)
		if err == nil {
			return nil
		}
		if starts.detected(ctx, c.Host) {
			return withJournal(ctx, c, starts.unit, fmt.Errorf("waiting for the kubelet: systemd had to start it %d "+
				"times anew: %w", starts.count, err))
		}
		select {
		case <-ctx.Done():
			return withJournal(ctx, c, starts.unit, fmt.Errorf("waiting for the kubelet: %w", err))
		case <-time.After(pollInterval):
		}
	}
}

// healthy asks the kubelet's healthz endpoint, and checks that a kubelet runs from the installed file.
func healthy(ctx context.Context, h *host.Host, j *spec.Join) error {
	address, err := healthzAddress(h)
	if err != nil {
		return err
	}
	if !kubeletRunningFrom(h, program(j, "kubelet")) {
		return fmt.Errorf("no kubelet runs from %q as it is installed", program(j, "kubelet"))
	}
	if address == "" {
		return nil // the cluster's kubelet configuration switches the endpoint off
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("asking the kubelet for its health: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the kubelet for its health: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the kubelet for its health: it answers %s", response.Status)
	}
	return nil
}

// healthzAddress returns the address of the kubelet's healthz endpoint; "" when it is turned off.
func healthzAddress(h *host.Host) (string, error) {
	data, err := h.ReadFile(layout.KubeletConfig)
	if err != nil {
		return "", errors.New("the kubelet has no configuration yet")
	}
	config := struct {
		Address string `yaml:"healthzBindAddress"`
		Port    *int   `yaml:"healthzPort"`
	}{}
	if err := yaml.Unmarshal(data, &config); err != nil {
		return "", fmt.Errorf("reading %q: %w", layout.KubeletConfig, err)
	}
	if config.Address == "" || config.Address == "0.0.0.0" || config.Address == "::" {
		config.Address = "127.0.0.1"
	}
	port := 10248
	if config.Port != nil {
		port = *config.Port
	}
	if port == 0 {
		return "", nil
	}
	return net.JoinHostPort(config.Address, strconv.Itoa(port)), nil
}

func kubeletRunning(h *host.Host) bool {
	for _, process := range inspect.Processes(h) {
		if process.Name == "kubelet" {
			return true
		}
	}
	return false
}

// kubeletRunningFrom reports whether a kubelet runs from file. It compares inodes: after an upgrade the old kubelet's
// file has the same name.
func kubeletRunningFrom(h *host.Host, file string) bool {
	installed, err := os.Stat(h.Path(file))
	if err != nil {
		return false
	}
	for _, process := range inspect.Processes(h) {
		if process.Name != "kubelet" {
			continue
		}
		running, err := os.Stat(h.Path(fmt.Sprintf("/proc/%d/exe", process.PID)))
		if err == nil && os.SameFile(installed, running) {
			return true
		}
	}
	return false
}

// recordOf returns the record after this operation. On a machine that was this node already, it keeps the settings of
// the join.
func recordOf(op *spec.Operation, before *spec.Record) *spec.Record {
	j := op.Join
	record := &spec.Record{
		Cluster: op.Cluster, ClusterUID: j.ClusterUID, Machine: op.Machine, NodeName: j.NodeName,
		Version: j.KubernetesVersion, Bundle: j.Bundle.SHA256, Joined: time.Now().UTC(), AtJoin: atJoin(j),
	}
	if before != nil && before.ClusterUID == record.ClusterUID && before.NodeName == record.NodeName {
		// The machine has not joined again since.
		record.Joined, record.AtJoin = before.Joined, before.AtJoin
	}
	return record
}
