package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/simulated"
	"argosy.dev/argosy/test/site"
)

const (
	simulatedFleet    = "bench-simulated"
	simulatedMachines = 50
	inFlight          = 20 * time.Second
)

// memory reads the plugin's peak resident memory while fifty simulated machines take their bundles through it at once.
func (b *bench) memory(ctx context.Context) error {
	if _, err := b.applySimulatedFleet(ctx, simulatedMachines, 0); err != nil {
		return err
	}
	defer b.forgetSimulatedFleet()
	p, err := b.startPlugin(ctx, b.caller)
	if err != nil {
		return err
	}
	defer b.stopPlugin(p)
	flying, land := context.WithTimeout(ctx, inFlight)
	defer land()
	for i := range simulatedMachines {
		go func() {
			_, _ = p.call(flying, map[string]string{
				"step": "join", "cluster": simulatedFleet, "machine": simulatedName(i),
				"concurrency": fmt.Sprint(simulatedMachines), "node": simulatedName(i),
			})
		}()
	}
	<-flying.Done()
	peak, err := peakMemory(p.command.Process.Pid)
	if err != nil {
		return err
	}
	tokens, err := b.site.TeamA().Kubectl(ctx, "get", "secret", "-n", "kube-system", "-l", "argosy.dev/machine", "-o",
		"name")
	if err != nil {
		return err
	}
	fmt.Printf("memory-50 ours=%.0fMiB limit=96MiB (peak resident, %d machines at work, all simulated SSH servers)\n",
		peak/1024, len(strings.Fields(tokens)))
	return nil
}

func simulatedName(i int) string { return fmt.Sprintf("simulated-%02d", i) }

// applySimulatedFleet makes simulated machines, each so far away, and the documents of a cluster that has them.
func (b *bench) applySimulatedFleet(ctx context.Context, count int, delay time.Duration) ([]*simulated.Server, error) {
	var machines []any
	var made []*simulated.Server
	for i := range count {
		machine, err := newSimulatedMachine(delay)
		if err != nil {
			return nil, err
		}
		made = append(made, machine)
		machines = append(machines, map[string]any{
			"name": simulatedName(i), "address": "127.0.0.1",
			"ssh": map[string]any{"port": machine.Port(), "hostKeys": []string{machine.HostKey()}},
		})
	}
	argosy, err := yaml.Marshal(map[string]any{
		"apiVersion": "argosy.dev/v1alpha1", "kind": "Fleet",
		"cluster":  map[string]any{"kubeconfigSecret": "team-a-kubeconfig"},
		"ssh":      map[string]any{"secret": "team-a-ssh"},
		"machines": machines,
		"bundles":  map[string]any{"repository": lab.RepositoryURL, "delivery": "push"},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the simulated fleet: %w", err)
	}
	return made, b.site.Apply(ctx, []any{map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": simulatedFleet},
		"data": map[string]any{"vcluster.yaml": "privateNodes: {enabled: true}\n", "argosy.yaml": string(argosy)},
	}})
}

// forgetSimulatedFleet removes the fleet and the tokens of its machines, which never join.
func (b *bench) forgetSimulatedFleet() {
	ctx := context.Background()
	_, _ = b.site.HostKubectl(ctx, "delete", "configmap", "-n", site.TeamA, simulatedFleet, "--ignore-not-found")
	_, _ = b.site.TeamA().Kubectl(ctx, "delete", "secret", "-n", "kube-system", "-l", "argosy.dev/machine")
}

// peakMemory of a process in KiB.
func peakMemory(pid int) (float64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the plugin's memory: %w", err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var kib float64
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %f kB", &kib); n == 1 {
			return kib, nil
		}
	}
	return 0, fmt.Errorf("reading the plugin's memory: no VmHWM in /proc/%d/status", pid)
}
