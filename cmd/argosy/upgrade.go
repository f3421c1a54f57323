package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"argosy.dev/argosy/cmd/internal/program"
	"argosy.dev/argosy/internal/count"
	"argosy.dev/argosy/internal/factory"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

func upgradeCommand() *cobra.Command {
	var location clusterFlags
	var machines string
	var dryRun bool
	command := &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade machines to their control plane's version, wave by wave",
		Long: `Plans, then upgrades wave after wave by privateNodes.autoUpgrade of vcluster.yaml and upgrade of
argosy.yaml: each wave is staged, then its machines are cordoned, drained, upgraded, checked and
uncordoned. A machine that does not become Ready is rolled back. Workflow upgrade also upgrades the
control plane, before the machines. Pauses between waves are kept; approvals are not asked for. Running
it again is safe: machines at the version are left alone, and an interrupted run is finished.`,
		Example: `  argosy upgrade --namespace team-a --dry-run
  argosy upgrade --namespace team-a`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			upgrader, done, err := location.upgrader(command.Context())
			if err != nil {
				return err
			}
			defer done()
			terminal := newTerminal(command.ErrOrStderr())
			preview, err := planUpgrade(command.Context(), upgrader, machines, terminal)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(command.OutOrStdout(), "%s\n%s", preview, preview.Table()); err != nil {
				return err
			}
			if dryRun {
				if refused := preview.Refused(); len(refused) > 0 {
					return fmt.Errorf("%s can't be upgraded as planned; the plan has the reasons",
						count.Of(len(refused), "machine"))
				}
				return nil
			}
			return rollOut(command.Context(), upgrader, preview, newTerminal(command.OutOrStdout()))
		},
	}
	location.addTo(command)
	machineFlag(command, &machines)
	command.Flags().BoolVar(&dryRun, "dry-run", false, "stop after the plan")
	return command
}

// upgrader opens the cluster's machines for a rollout by this process. done closes the connections.
func (p *clusterFlags) upgrader(ctx context.Context) (*upgrade.Upgrader, func(), error) {
	u, done, err := openMachines(ctx, p, func(ctx context.Context, source config.Source, keys factory.HostKeys,
		tools factory.Tools, cluster string,
	) (*upgrade.Upgrader, error) {
		return factory.OpenUpgrade(ctx, source, keys, tools, cluster, program.Image())
	})
	if err != nil {
		return nil, nil, err
	}
	host, _ := os.Hostname()
	u.Rollout = fmt.Sprintf("%s-%d-%d", host, os.Getpid(), time.Now().Unix())
	return u, done, nil
}

func planUpgrade(ctx context.Context, upgrader *upgrade.Upgrader, expression string,
	terminal *terminal,
) (upgrade.Preview, error) {
	machines, err := upgrader.Cluster.Select(expression)
	if err != nil {
		return upgrade.Preview{}, err
	}
	return planWith(terminal, func(progress operation.Progress) (upgrade.Preview, error) {
		return upgrader.Plan(ctx, machines, progress)
	})
}

// rollOut upgrades the waves of a plan and leaves no node cordoned.
func rollOut(ctx context.Context, upgrader *upgrade.Upgrader, preview upgrade.Preview, terminal *terminal) error {
	failed, err := runWaves(ctx, upgrader, preview.Plan, terminal)
	if waves := preview.Plan.Waves; err == nil && len(failed) == 0 && len(waves) > 0 {
		err = haltedError(ctx, upgrader, preview.Plan, waves[len(waves)-1])
	}
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	done, notCleaned := upgrader.Clean(cleaning,
		operation.AsText(func(text string) { terminal.line("clean", text) }))
	for _, line := range done {
		terminal.line("clean", line)
	}
	if len(failed) > 0 {
		err = errors.Join(fmt.Errorf("%d of %d machines failed: %s", len(failed), preview.Plan.Size(),
			strings.Join(failed, ", ")), err)
	}
	return errors.Join(err, notCleaned)
}

// haltedError returns why a rollout that no machine failed was halted before its end; nil where it was not.
func haltedError(ctx context.Context, upgrader *upgrade.Upgrader, plan rollout.Plan, last rollout.Wave) error {
	gate, err := upgrader.After(ctx, plan, last)
	if err == nil && gate.Halt != nil && !gate.Halt.Allowed {
		return gate.Halt
	}
	return err
}

// cleanTimeout bounds the cleanup after a rollout, which has work only after an interruption.
const cleanTimeout = 5 * time.Minute

// runWaves upgrades waves, with the pauses between them. It returns the machines that failed, also with an error.
func runWaves(ctx context.Context, upgrader *upgrade.Upgrader, plan rollout.Plan,
	terminal *terminal,
) (failed []string, err error) {
	for i, wave := range plan.Waves {
		if i > 0 {
			if err := waitBetween(ctx, upgrader, plan, plan.Waves[i-1]); err != nil {
				return failed, err
			}
		}
		failed = append(failed, runWave(ctx, upgrader, plan, wave, terminal)...)
	}
	return failed, nil
}

// waitBetween waits for the pause after a wave.
func waitBetween(ctx context.Context, upgrader *upgrade.Upgrader, plan rollout.Plan, wave rollout.Wave) error {
	gate, err := upgrader.After(ctx, plan, wave)
	if err == nil {
		select {
		case <-ctx.Done():
		case <-time.After(gate.Pause):
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted after wave %q; run the command again to continue", wave.Name)
	}
	return err
}

// runWave stages the machines of a wave, then upgrades them. It returns those that failed.
func runWave(ctx context.Context, upgrader *upgrade.Upgrader, plan rollout.Plan, wave rollout.Wave,
	terminal *terminal,
) []string {
	limiter := operation.NewLimiter(upgrader.Cluster.Fleet.Limits.Concurrency)
	concurrently(ctx, upgrader.Cluster, wave.Machines, terminal, func(machine config.Machine,
		progress operation.Progress,
	) (upgrade.Staged, error) {
		return upgrader.Stage(ctx, machine, plan, limiter, progress)
	})
	return concurrently(ctx, upgrader.Cluster, wave.Machines, terminal,
		func(machine config.Machine, progress operation.Progress) (upgrade.Outcome, error) {
			return upgrader.Upgrade(ctx, machine, plan, progress)
		})
}
