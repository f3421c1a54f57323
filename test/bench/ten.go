package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/pkg/client/clientset/versioned"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"argosy.dev/argosy/test/site"
)

const (
	atOnce = 10
	// tenPatience is for ten control planes on a computer with two processors.
	tenPatience = 20 * time.Minute
)

// ten provisions ten clusters at once, as ten users would, and prints the time and cost of each.
func (b *bench) ten(ctx context.Context) (err error) {
	if err := b.warmUp(ctx); err != nil {
		return err
	}
	var clusters []*site.HostedCluster
	for i := range atOnce {
		clusters = append(clusters, b.site.HostedCluster(fmt.Sprintf("bench-t%d", i)))
	}
	// A run that was killed has left them.
	if err := b.removeAll(ctx, clusters); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.removeAll(context.WithoutCancel(ctx), clusters)) }()
	for _, cluster := range clusters {
		if err := cluster.Install(ctx); err != nil {
			return err
		}
	}
	took, err := b.submitAll(ctx, clusters)
	if err != nil {
		return err
	}
	processor, memory, err := b.costs(ctx, clusters)
	if err != nil {
		return err
	}
	fmt.Printf("ten min=%.1fs median=%.1fs max=%.1fs cpu=%.1fs cpu-max=%.1fs memory=%.0fMiB memory-max=%.0fMiB (argo "+
		"submit to Succeeded of %d clusters at once; what a control plane has used by then)\n",
		slices.Min(took).Seconds(), median(took).Seconds(), slices.Max(took).Seconds(),
		median(processor).Seconds(), slices.Max(processor).Seconds(), mebibytes(median(memory)),
		mebibytes(slices.Max(memory)), atOnce)
	return nil
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// removeAll has all clusters go at the same time.
func (b *bench) removeAll(ctx context.Context, clusters []*site.HostedCluster) error {
	args := []string{"delete", "namespace", "--ignore-not-found", "--wait=false"}
	for _, cluster := range clusters {
		args = append(args, cluster.Name)
	}
	_, err := b.site.HostKubectl(ctx, args...)
	problems := []error{err}
	for _, cluster := range clusters {
		problems = append(problems, cluster.Remove(ctx))
	}
	return errors.Join(problems...)
}

// submitAll returns how long each cluster's workflow took, all being submitted at once.
func (b *bench) submitAll(ctx context.Context, clusters []*site.HostedCluster) ([]time.Duration, error) {
	config, err := b.config("host")
	if err != nil {
		return nil, err
	}
	argo, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the host cluster: %w", err)
	}
	took := make([]time.Duration, len(clusters))
	started := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i, cluster := range clusters {
		group.Go(func() error {
			err := submitProvision(ctx, argo, cluster)
			took[i] = time.Since(started)
			return err
		})
	}
	return took, group.Wait()
}

// submitProvision returns when the workflow has succeeded.
func submitProvision(ctx context.Context, argo versioned.Interface, cluster *site.HostedCluster) error {
	out, err := cluster.Argo(ctx, "submit", "--from", "workflowtemplate/provision", "-p", "cluster="+cluster.Name, "-o",
		"name")
	if err != nil {
		return err
	}
	var last *wfv1.Workflow
	var problem error
	err = wait.PollUntilContextTimeout(ctx, 250*time.Millisecond, tenPatience, true,
		func(ctx context.Context) (bool, error) {
			// The API server is as busy as the rest of the host machine, and may be late.
			last, problem = argo.ArgoprojV1alpha1().Workflows(cluster.Name).Get(ctx, strings.TrimSpace(out),
				metav1.GetOptions{})
			return problem == nil && last.Status.Phase.Completed(), nil
		})
	if err != nil {
		return fmt.Errorf("waiting for the workflow of cluster %q: %w", cluster.Name, errors.Join(err, problem))
	}
	if last.Status.Phase != wfv1.WorkflowSucceeded {
		return fmt.Errorf("provisioning cluster %q: %s", cluster.Name, describe(last))
	}
	return nil
}

// describe returns how a workflow and its plugin steps ended.
func describe(w *wfv1.Workflow) string {
	text := fmt.Sprintf("workflow %s: %s %s", w.Name, w.Status.Phase, w.Status.Message)
	for _, node := range w.Status.Nodes {
		if node.Type == wfv1.NodeTypePlugin {
			text += fmt.Sprintf("\n  %s: %s %s", node.DisplayName, node.Phase, node.Message)
		}
	}
	return text
}

// costs are the processor time that each control plane has used since it began, and its resident memory in bytes.
func (b *bench) costs(ctx context.Context, clusters []*site.HostedCluster) (processor []time.Duration, memory []int64,
	err error,
) {
	host, err := b.client("host")
	if err != nil {
		return nil, nil, err
	}
	for _, cluster := range clusters {
		h := hosted{HostedCluster: cluster, bench: b, host: host}
		used, resident, err := h.cost(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("reading what the control plane of cluster %q costs: %w", cluster.Name, err)
		}
		processor, memory = append(processor, used), append(memory, resident)
	}
	return processor, memory, nil
}

// readCosts prints lines like "cpu 12000000000" in nanoseconds and "memory 345678" in bytes for a pod, from the files
// of either version of cgroups. The memory is that of no file, that is without the memory that the kernel keeps because
// there is room. Where both versions are mounted, a line may come twice.
const readCosts = `
for group in $(find /sys/fs/cgroup -type d -name "*pod$1*" -prune); do
	[ ! -e "$group/cpuacct.usage" ] || echo "cpu $(cat "$group/cpuacct.usage")"
	[ ! -e "$group/cpu.stat" ] || awk '$1 == "usage_usec" { print "cpu", $2 "000" }' "$group/cpu.stat"
	[ ! -e "$group/memory.stat" ] || awk '$1 == "total_rss" || $1 == "anon" { print "memory", $2 }' "$group/memory.stat"
done
`

// cost adds up the cluster's pods.
func (h *hosted) cost(ctx context.Context) (processor time.Duration, memory int64, err error) {
	pods, err := h.pods(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, pod := range pods {
		// systemd's names of groups have underscores where the number of a pod has dashes.
		out, err := h.bench.site.Lab.Exec(ctx, pod.Spec.NodeName, "sh", "-euc", readCosts, "sh",
			strings.ReplaceAll(string(pod.UID), "-", "?"))
		if err != nil {
			return 0, 0, err
		}
		used, err := parseCosts(out)
		if err != nil {
			return 0, 0, fmt.Errorf("reading the cgroups of pod %q: %w", pod.Name, err)
		}
		processor, memory = processor+time.Duration(used["cpu"]), memory+used["memory"]
	}
	return processor, memory, nil
}

// parseCosts reads the output of readCosts; of a line that comes twice the larger number counts.
func parseCosts(lines string) (map[string]int64, error) {
	used := map[string]int64{}
	for line := range strings.Lines(lines) {
		var kind string
		var value int64
		if _, err := fmt.Sscan(line, &kind, &value); err != nil {
			return nil, fmt.Errorf("reading line %q: %w", line, err)
		}
		used[kind] = max(used[kind], value)
	}
	if used["cpu"] == 0 || used["memory"] == 0 {
		return nil, fmt.Errorf("neither version's files say what it uses: %q", lines)
	}
	return used, nil
}
