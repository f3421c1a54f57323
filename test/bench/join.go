package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

func (b *bench) joinOne(ctx context.Context) error { return b.join(ctx, "join-1", "m1") }

func (b *bench) joinThree(ctx context.Context) error { return b.join(ctx, "join-3", "m1", "m2", "m5") }

// join compares the way from the first plugin call to Ready nodes with the floor script. Both start with clean
// machines, and both are timed by the same watch on the nodes.
func (b *bench) join(ctx context.Context, name string, machines ...string) error {
	if err := b.pushes(ctx); err != nil {
		return err
	}
	return b.pair(name,
		func() (time.Duration, error) {
			return b.timed(ctx, machines, b.ours)
		},
		func() (time.Duration, error) {
			return b.timed(ctx, machines, b.floor)
		})
}

// pushes has the plugin stream bundles over SSH, as the floor does.
func (b *bench) pushes(ctx context.Context) error {
	config, err := b.site.ConfigMap(site.Overrides{Bundles: map[string]any{
		"repository": lab.RepositoryURL,
		"delivery":   "push",
	}})
	if err != nil {
		return err
	}
	return b.site.Apply(ctx, []any{config})
}

// timed cleans the machines, runs work, and returns how long it took until every node was Ready.
func (b *bench) timed(ctx context.Context, machines []string,
	work func(context.Context, []string) error,
) (time.Duration, error) {
	if err := b.clean(ctx, machines); err != nil {
		return 0, err
	}
	return until(ctx,
		func(ctx context.Context) error { return b.allReady(ctx, machines) },
		func(ctx context.Context) error { return work(ctx, machines) })
}

// until runs work beside a watch and returns how long the watch took. The work goes on to its end.
func until(ctx context.Context, watch, work func(context.Context) error) (took time.Duration, err error) {
	started := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := watch(ctx)
		took = time.Since(started)
		return err
	})
	group.Go(func() error { return work(ctx) })
	err = group.Wait()
	return took, err
}

func (b *bench) clean(ctx context.Context, machines []string) error {
	if err := b.site.Lab.Reset(ctx, machines...); err != nil {
		return err
	}
	_, err := b.site.TeamA().Kubectl(ctx, append([]string{"delete", "node", "--ignore-not-found"}, machines...)...)
	return err
}

// allReady polls the API server, which is closer than the time a watch of it takes to set up.
func (b *bench) allReady(ctx context.Context, machines []string) error {
	client, err := b.client(site.TeamA)
	if err != nil {
		return err
	}
	for {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("listing nodes: %w", err)
		}
		if readyAmong(list.Items, machines) == len(machines) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// client of one of the lab's clusters, "host" or "team-a".
func (b *bench) client(cluster string) (kubernetes.Interface, error) {
	config, err := b.config(cluster)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

func (b *bench) config(cluster string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", b.site.Lab.KubeconfigPath(cluster))
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of cluster %q: %w", cluster, err)
	}
	config.QPS, config.Burst = 100, 100
	return config, nil
}

func readyAmong(nodes []corev1.Node, machines []string) int {
	ready := 0
	for _, node := range nodes {
		for _, machine := range machines {
			if node.Name == machine && isReady(node) {
				ready++
			}
		}
	}
	return ready
}

func isReady(node corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// ours asks a fresh plugin process for plan and join, as Argo's agent would.
func (b *bench) ours(ctx context.Context, machines []string) error {
	p, err := b.startPlugin(ctx, b.caller)
	if err != nil {
		return err
	}
	defer b.stopPlugin(p)
	return p.joinAll(ctx, machines)
}

// joinAll plans and joins machines that are clean.
func (p *pluginProcess) joinAll(ctx context.Context, machines []string) error {
	plan, err := p.call(ctx, map[string]string{
		"step": "plan", "cluster": site.TeamA,
		"machines": strings.Join(machines, ","), "node": "plan",
	})
	if err != nil {
		return err
	}
	var items []struct{ Machine string }
	for _, output := range plan.Outputs.Parameters {
		if output.Name == "machines" {
			if err := json.Unmarshal([]byte(output.Value.String()), &items); err != nil {
				return fmt.Errorf("reading the plan: %w", err)
			}
		}
	}
	if len(items) != len(machines) {
		return fmt.Errorf("the plan has work for %d of %d clean machines: %s", len(items), len(machines), plan.Message)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, machine := range machines {
		group.Go(func() error { return p.joinStep(ctx, machine) })
	}
	return group.Wait()
}

func (p *pluginProcess) joinStep(ctx context.Context, machine string) error {
	_, err := p.call(ctx, map[string]string{
		"step": "join", "cluster": site.TeamA, "machine": machine,
		"node": "join(" + machine + ")",
	})
	return err
}

// floor runs the hand-written script for every machine at once.
func (b *bench) floor(ctx context.Context, machines []string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range machines {
		machine, err := b.site.Lab.Spec(name)
		if err != nil {
			return err
		}
		group.Go(func() error {
			command := exec.CommandContext(ctx, filepath.Join(b.site.Source, "test", "bench", "floor.sh"), name,
				machine.Login+"@"+machine.Address,
				filepath.Join(b.site.Lab.HTTPDir(), site.Version, "kubernetes-"+site.Version+"-amd64.tar.gz"))
			command.Env = append(os.Environ(),
				"PATH="+b.site.Lab.BinDir()+":"+os.Getenv("PATH"), "KEY="+b.site.Lab.KeyPath(),
				"KNOWN_HOSTS="+b.site.Lab.KnownHostsPath(),
				"KUBECONFIG="+b.site.Lab.KubeconfigPath(site.TeamA), "SERVER=10.117.0.20:6443")
			if out, err := command.CombinedOutput(); err != nil {
				return fmt.Errorf("running the floor script for %s: %w\n%s", name, err, out)
			}
			return nil
		})
	}
	return group.Wait()
}

// again times the second run on machines that are joined: plan and join of each.
func (b *bench) again(ctx context.Context) error {
	machines := []string{"m1", "m2", "m5"}
	if err := b.clean(ctx, machines); err != nil {
		return err
	}
	if err := b.ours(ctx, machines); err != nil {
		return err
	}
	for _, machine := range machines {
		var times []time.Duration
		for range b.rounds {
			fresh, err := b.startPlugin(ctx, b.caller)
			if err != nil {
				return err
			}
			started := time.Now()
			err = fresh.joinStep(ctx, machine)
			times = append(times, time.Since(started))
			b.stopPlugin(fresh)
			if err != nil {
				return err
			}
		}
		fmt.Printf("again-%s ours=%.2fs (a joined machine, with a plugin that has just started) rounds=%d\n", machine,
			median(times).Seconds(), b.rounds)
	}
	return nil
}

// submit times argo submit to Succeeded, with the controller at 2 s rates, which is the time that a user waits.
func (b *bench) submit(ctx context.Context) error {
	var times []time.Duration
	for range b.rounds {
		if err := b.clean(ctx, []string{"m1"}); err != nil {
			return err
		}
		started := time.Now()
		if _, err := b.site.TeamA().Argo(ctx, "submit", "--from", "workflowtemplate/join", "-p", "cluster="+site.TeamA,
			"-p",
			"machines=m1", "--wait"); err != nil {
			return err
		}
		times = append(times, time.Since(started))
	}
	fmt.Printf("submit-1 ours=%.1fs (argo submit to Succeeded, DEFAULT_REQUEUE_TIME=2s) rounds=%d\n",
		median(times).Seconds(), b.rounds)
	return nil
}
