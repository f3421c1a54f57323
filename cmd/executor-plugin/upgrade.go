package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"argosy.dev/argosy/pkg/conduct"
	"argosy.dev/argosy/pkg/config"
	"argosy.dev/argosy/pkg/fleet"
	"argosy.dev/argosy/pkg/ssh"
	"argosy.dev/argosy/pkg/upgrade"
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
		Args: cobra.NoArgs,
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
	source, keys, err := p.open()
	if err != nil {
		return nil, nil, err
	}
	pool := ssh.NewPool()
	conductor, err := fleet.OpenUpgrade(ctx, source, keys, fleet.Tools{Agent: &agents{}, Pool: pool}, p.cluster, ownImage())
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	host, _ := os.Hostname()
	conductor.Rollout = fmt.Sprintf("%s-%d-%d", host, os.Getpid(), time.Now().Unix())
	return conductor, func() { pool.Close() }, nil
}

func planUpgrade(ctx context.Context, conductor *upgrade.Conductor, expression string, terminal *terminal) (upgrade.Plan, error) {
	machines, err := conductor.Cluster.Select(expression)
	if err != nil {
		return upgrade.Plan{}, err
	}
	return conductor.Plan(ctx, machines, func(text string) { terminal.progress("plan", planning+"] "+text) })
}

// roll works through the waves of a plan and leaves no node cordoned.
func roll(ctx context.Context, conductor *upgrade.Conductor, plan upgrade.Plan, terminal *terminal) error {
	var failed []string
	for i, wave := range plan.Waves {
		failed = append(failed, throughWave(ctx, conductor, wave, terminal)...)
		if ctx.Err() != nil || i == len(plan.Waves)-1 {
			break
		}
		gate, err := conductor.After(ctx, wave)
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(gate.Pause):
		}
	}
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	done, err := conductor.Clean(cleaning, func(text string) { terminal.line("clean", text) })
	for _, line := range done {
		terminal.line("clean", line)
	}
	if len(failed) > 0 {
		err = errors.Join(fmt.Errorf("%d of %d machines failed: %s", len(failed), plan.Work(), strings.Join(failed, ", ")), err)
	}
	return err
}

// cleanTimeout bounds the cleaning up after a rollout, which has nothing to do unless it was interrupted.
const cleanTimeout = 5 * time.Minute

// throughWave stages the machines of a wave and then upgrades them; it returns those that failed.
func throughWave(ctx context.Context, conductor *upgrade.Conductor, wave upgrade.Wave, terminal *terminal) []string {
	window := conduct.NewWindow(conductor.Cluster.Fleet.Limits.Concurrency)
	forEach(conductor, wave.Machines, terminal, func(machine config.Machine, report func(string)) (string, error) {
		staged, err := conductor.Stage(ctx, machine, wave, window, report)
		return staged.String(), err
	})
	return forEach(conductor, wave.Machines, terminal, func(machine config.Machine, report func(string)) (string, error) {
		outcome, err := conductor.Upgrade(ctx, machine, wave, report)
		return outcome.String(), err
	})
}

// forEach does something with each machine at once and prints how it ended; it returns those that failed.
func forEach(conductor *upgrade.Conductor, names []string, terminal *terminal, do func(config.Machine, func(string)) (string, error)) []string {
	var mu sync.Mutex
	var failed []string
	var group errgroup.Group
	for _, name := range names {
		machine, _ := conductor.Cluster.Machine(name)
		group.Go(func() error {
			said, err := do(machine, func(text string) { terminal.progress(name, text) })
			if err != nil {
				said = err.Error()
				mu.Lock()
				failed = append(failed, name)
				mu.Unlock()
			}
			terminal.line(name, said)
			return nil
		})
	}
	_ = group.Wait()
	return failed
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
		Args: cobra.NoArgs,
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
				outcome, err := conductor.PutBack(command.Context(), machine, func(text string) { terminal.progress(machine.Name, text) })
				if err != nil {
					return err
				}
				terminal.line(machine.Name, outcome.String())
			}
			return nil
		},
	}
	where.flags(command)
	command.Flags().StringVarP(&machines, "machines", "m", "", `which machines, required: names with commas between, a label selector like zone=a, or "all"`)
	return command
}
