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
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/factory"
	"argosy.dev/argosy/pkg/operation"
	"argosy.dev/argosy/pkg/upgrade"
	"argosy.dev/argosy/pkg/upgrade/rollout"
)

func upgradeCommand() *cobra.Command {
	var where place
	var machines string
	var dryRun bool
	command := &cobra.Command{
		Use:   "upgrade",
		Short: "Take machines to their control plane's version, wave by wave; what is there already is left alone",
		Long: `Plans, then upgrades wave after wave, as privateNodes.autoUpgrade of vcluster.yaml and upgrade of argosy.yaml
say: each wave is staged, then its machines are cordoned, drained, upgraded, checked and given back. A machine
that does not come up is put back to what it was. It is what workflow upgrade does once the control plane has
its new version; that one moves the control plane, too. Pauses between waves are kept, and approvals are not
asked for. Running it again is safe and finishes what was interrupted.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			conductor, done, err := where.upgrader(command.Context())
			if err != nil {
				return err
			}
			defer done()
			terminal := newTerminal(command.ErrOrStderr())
			plan, err := planUpgrade(command.Context(), conductor, machines, terminal)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(command.OutOrStdout(), "%s\n%s", plan, plan.Table()); err != nil {
				return err
			}
			if dryRun {
				if refused := plan.Refused(); len(refused) > 0 {
					return fmt.Errorf("%d machines can't be upgraded as they are", len(refused))
				}
				return nil
			}
			return roll(command.Context(), conductor, plan, newTerminal(command.OutOrStdout()))
		},
	}
	where.flags(command)
	machineFlag(command, &machines)
	command.Flags().BoolVar(&dryRun, "dry-run", false, "stop after the plan")
	return command
}

// upgrader opens everything for a rollout of this process; done closes the connections.
func (p *place) upgrader(ctx context.Context) (*upgrade.Conductor, func(), error) {
	conductor, done, err := opened(ctx, p, func(ctx context.Context, source config.Source, keys factory.HostKeys,
		tools factory.Tools, cluster string) (*upgrade.Conductor, error) {
		return factory.OpenUpgrade(ctx, source, keys, tools, cluster, program.Image())
	})
	if err != nil {
		return nil, nil, err
	}
	host, _ := os.Hostname()
	conductor.Rollout = fmt.Sprintf("%s-%d-%d", host, os.Getpid(), time.Now().Unix())
	return conductor, done, nil
}

func planUpgrade(ctx context.Context, conductor *upgrade.Conductor, expression string,
	terminal *terminal) (upgrade.Plan, error) {
	machines, err := conductor.Cluster.Select(expression)
	if err != nil {
		return upgrade.Plan{}, err
	}
	return conductor.Plan(ctx, machines, func(text string) { terminal.progress("plan", planning+"] "+text) })
}

// roll works through the waves of a plan and leaves no node cordoned.
func roll(ctx context.Context, conductor *upgrade.Conductor, plan upgrade.Plan, terminal *terminal) error {
	failed, err := throughWaves(ctx, conductor, plan.Rollout, terminal)
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	done, notCleaned := conductor.Clean(cleaning, func(text string) { terminal.line("clean", text) })
	for _, line := range done {
		terminal.line("clean", line)
	}
	if len(failed) > 0 {
		err = errors.Join(fmt.Errorf("%d of %d machines failed: %s", len(failed), plan.Rollout.Size(),
			strings.Join(failed, ", ")), err)
	}
	return errors.Join(err, notCleaned)
}

// cleanTimeout bounds the cleaning up after a rollout, which has nothing to do unless it was interrupted.
const cleanTimeout = 5 * time.Minute

// throughWaves works through waves and the pauses between them; it returns the machines that failed, also with an
// error.
func throughWaves(ctx context.Context, conductor *upgrade.Conductor, plan rollout.Plan,
	terminal *terminal) (failed []string, err error) {
	for i, wave := range plan.Waves {
		if i > 0 {
			if err := between(ctx, conductor, plan, plan.Waves[i-1]); err != nil {
				return failed, err
			}
		}
		failed = append(failed, throughWave(ctx, conductor, plan, wave, terminal)...)
	}
	return failed, nil
}

// between waits as long as lies between a wave and the next one.
func between(ctx context.Context, conductor *upgrade.Conductor, plan rollout.Plan, wave rollout.Wave) error {
	gate, err := conductor.After(ctx, plan, wave)
	if err == nil {
		select {
		case <-ctx.Done():
		case <-time.After(gate.Pause):
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted after wave %s; run it again to go on", wave.Name)
	}
	return err
}

// throughWave stages the machines of a wave and then upgrades them; it returns those that failed.
func throughWave(ctx context.Context, conductor *upgrade.Conductor, plan rollout.Plan, wave rollout.Wave,
	terminal *terminal) []string {
	window := operation.NewLimiter(conductor.Cluster.Fleet.Limits.Concurrency)
	abreast(conductor.Cluster, wave.Machines, terminal, func(machine config.Machine,
		report func(string)) (upgrade.Staged, error) {
		return conductor.Stage(ctx, machine, plan, window, report)
	})
	return abreast(conductor.Cluster, wave.Machines, terminal,
		func(machine config.Machine, report func(string)) (upgrade.Outcome, error) {
			return conductor.Upgrade(ctx, machine, plan, report)
		})
}

func rollbackCommand() *cobra.Command {
	var where place
	var machines string
	command := &cobra.Command{
		Use:   "rollback",
		Short: "Put machines back to what they were before their last upgrade",
		Long: `Puts back the binaries, units and configuration that a machine had before its last upgrade, one machine after
another: its node is cordoned and drained, and takes pods again when it is Ready at the old version. A machine
that was not upgraded is refused. The control plane stays as it is.`,
		Args: program.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			conductor, done, err := where.upgrader(command.Context())
			if err != nil {
				return err
			}
			defer done()
			chosen, err := conductor.Cluster.SelectNamed(machines)
			if err != nil {
				return err
			}
			terminal := newTerminal(command.OutOrStdout())
			for _, machine := range chosen {
				outcome, err := conductor.PutBack(command.Context(), machine,
					func(text string) { terminal.progress(machine.Name, text) })
				if err != nil {
					return err
				}
				terminal.line(machine.Name, outcome.String())
			}
			return nil
		},
	}
	where.flags(command)
	command.Flags().StringVarP(&machines, "machines", "m", "",
		`which machines, required: names with commas between, a label selector like zone=a, or "all"`)
	return command
}
