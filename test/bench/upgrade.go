package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"argosy.dev/argosy/pkg/upgrade/rollout"
	"argosy.dev/argosy/test/lab"
	"argosy.dev/argosy/test/site"
)

const upgraded = "m1"

// upgradeOne compares for how long a node is out of service while its machine goes from the older version to the newer
// one, with nothing on it to evict: from cordon to uncordon, seen by a watch on the node, with the bundle there before.
// Where the time goes before that, staging, is shown beside it.
func (b *bench) upgradeOne(ctx context.Context) error {
	if err := b.site.Lab.PublishBundle(ctx, lab.OlderVersion); err != nil {
		return err
	}
	defer func() { _ = b.applyVersion(context.WithoutCancel(ctx), site.Version) }()
	var before []time.Duration
	err := b.pair("upgrade-1",
		func() (time.Duration, error) {
			if err := b.olderNode(ctx); err != nil {
				return 0, err
			}
			began := time.Now()
			var cordoned time.Time
			took, err := b.outOfService(ctx, &cordoned, func(ctx context.Context) error {
				_, err := b.site.Argosy(ctx, "upgrade", "--namespace", site.TeamA, "--cluster", site.TeamA,
					"--machines", upgraded)
				return err
			})
			before = append(before, cordoned.Sub(began))
			return took, err
		},
		func() (time.Duration, error) {
			if err := b.olderNode(ctx); err != nil {
				return 0, err
			}
			if err := b.unpacked(ctx); err != nil {
				return 0, err
			}
			return b.outOfService(ctx, new(time.Time), b.upgradeFloor)
		})
	if err != nil {
		return err
	}
	fmt.Printf("upgrade-1 before=%.2fs (planning and staging, with the node in service)\n", median(before).Seconds())
	return nil
}

// olderNode makes the machine a clean node of the older version, and has the documents want the newer one.
func (b *bench) olderNode(ctx context.Context) error {
	if err := b.clean(ctx, []string{upgraded}); err != nil {
		return err
	}
	if err := b.applyVersion(ctx, lab.OlderVersion); err != nil {
		return err
	}
	if _, err := b.site.Argosy(ctx, "join", "--namespace", site.TeamA, "--cluster", site.TeamA, "--machines",
		upgraded); err != nil {
		return err
	}
	return b.applyVersion(ctx, site.Version)
}

// applyVersion sets the documents. The floor looks at nothing but Ready, so the gate has to be satisfied with that,
// too.
func (b *bench) applyVersion(ctx context.Context, version string) error {
	config, err := b.site.ConfigMap(site.Overrides{
		Version: version, Bundles: map[string]any{"repository": lab.RepositoryURL},
		Document: func(d map[string]any) {
			site.Set(d, "upgrade.minReady", "0s")
			site.Set(d, "upgrade.nodeGrace", "0s")
		},
	})
	if err != nil {
		return err
	}
	return b.site.Apply(ctx, []any{config})
}

// unpacked puts the newer bundle where the floor script takes it from.
func (b *bench) unpacked(ctx context.Context) error {
	bundle, err := os.Open(filepath.Join(b.site.Lab.HTTPDir(), site.Version,
		"kubernetes-"+site.Version+"-amd64.tar.gz"))
	if err != nil {
		return fmt.Errorf("opening the bundle: %w", err)
	}
	defer bundle.Close()
	_, err = b.site.Lab.ExecInput(ctx, upgraded, bundle, "sh", "-c", "mkdir -p /tmp/bundle && tar -xz -C /tmp/bundle")
	return err
}

func (b *bench) upgradeFloor(ctx context.Context) error {
	machine, err := b.site.Lab.Spec(upgraded)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, filepath.Join(b.site.Source, "test", "bench", "upgrade-floor.sh"), upgraded,
		machine.Login+"@"+machine.Address, site.Version)
	command.Env = append(os.Environ(), "PATH="+b.site.Lab.BinDir()+":"+os.Getenv("PATH"), "KEY="+b.site.Lab.KeyPath(),
		"KNOWN_HOSTS="+b.site.Lab.KnownHostsPath(), "KUBECONFIG="+b.site.Lab.KubeconfigPath(site.TeamA))
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("running the upgrade's floor script: %w\n%s", err, out)
	}
	return nil
}

// outOfService runs work and returns for how long the node took no pods meanwhile, and since when.
func (b *bench) outOfService(ctx context.Context, since *time.Time, work func(context.Context) error) (time.Duration,
	error,
) {
	client, err := b.client(site.TeamA)
	if err != nil {
		return 0, err
	}
	var ended time.Time
	watch := func(ctx context.Context) error {
		for {
			node, err := client.CoreV1().Nodes().Get(ctx, upgraded, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("reading node %q: %w", upgraded, err)
			}
			switch {
			case node.Spec.Unschedulable && since.IsZero():
				*since = time.Now()
			case !node.Spec.Unschedulable && !since.IsZero():
				ended = time.Now()
				return nil
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	if _, err := until(ctx, watch, work); err != nil {
		return 0, err
	}
	return ended.Sub(*since), nil
}

// plannedNodes is how many machines a rollout is planned for.
const plannedNodes = 10_000

// waves times the plan of a large rollout.
func (b *bench) waves(context.Context) error {
	machines := make([]rollout.Machine, plannedNodes)
	for i := range machines {
		machines[i] = rollout.Machine{
			Name: fmt.Sprintf("m%d", i), Version: lab.OlderVersion,
			Zone: fmt.Sprintf("zone-%d", i%3), Canary: i < 3,
		}
	}
	var all []time.Duration
	for range b.rounds {
		began := time.Now()
		plan, err := rollout.Make(machines, rollout.Policy{
			Target:         site.Version,
			MaxUnavailable: intstr.FromString("5%"),
		})
		if err != nil {
			return err
		}
		all = append(all, time.Since(began))
		if len(plan.Waves) == 0 {
			return fmt.Errorf("planning %d machines: there are no waves", plannedNodes)
		}
	}
	fmt.Printf("waves-%d ours=%.1fms limit=100ms rounds=%d\n", plannedNodes, float64(median(all).Microseconds())/1000,
		b.rounds)
	return nil
}
