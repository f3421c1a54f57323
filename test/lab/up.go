package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// UpOptions set how much of the lab Up brings up. The zero value is all of it.
type UpOptions struct {
	// HostedOnly leaves out the parts that no hosted cluster needs: the control plane team-a, the bastion and the
	// machines m4 and m5, the bundles' web server, and the images of MetalLB and metrics-server. A later Up adds them.
	HostedOnly bool
}

// machines returns the machines that are brought up.
func (o UpOptions) machines() []MachineSpec {
	if !o.HostedOnly {
		return machines()
	}
	return slices.DeleteFunc(machines(), func(m MachineSpec) bool {
		return !slices.Contains([]string{"host", "m1", "m2", "m3"}, m.Name)
	})
}

// Up brings the lab up, or repairs missing parts of it. It is idempotent and
// quick when there is nothing to do.
func (l *Lab) Up(ctx context.Context) error { return l.UpWith(ctx, UpOptions{}) }

// UpWith is Up with options.
func (l *Lab) UpWith(ctx context.Context, options UpOptions) error {
	start := time.Now()
	if err := l.ensurePackages(ctx, "lab"); err != nil {
		return err
	}
	if err := requireRoot(); err != nil {
		return err
	}
	if err := requireRealDisk(ctx, l.state); err != nil {
		return err
	}
	unlock, err := l.lock("up")
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.installProgram(ctx); err != nil {
		return err
	}
	if err := l.ensureKeys(ctx); err != nil {
		return err
	}
	rootfs, err := l.rootfs(ctx)
	if err != nil {
		return err
	}
	// Everything is compiled before anything boots: a machine that starts beside a compiler is slow, and idle until
	// the compiler is done.
	made, err := l.artifacts(ctx, options)
	if err != nil {
		return err
	}
	if _, err := l.hostedImages(ctx, Version, options); err != nil {
		return err
	}
	if err := l.raiseLimits(); err != nil {
		return err
	}
	if err := l.setUpNetwork(ctx); err != nil {
		return err
	}
	if err := l.setUpMachines(ctx, rootfs, made, options); err != nil {
		return err
	}
	if err := l.setUpHosting(ctx, options); err != nil {
		return err
	}
	l.logf("up in %.1fs", time.Since(start).Seconds())
	return nil
}

// setUpNetwork makes the network. Machines that ran on one of before are halted.
func (l *Lab) setUpNetwork(ctx context.Context) error {
	if networkStands(ctx) {
		return nil
	}
	if err := l.haltAll(); err != nil {
		return err
	}
	if err := l.stopDaemons(); err != nil {
		return err
	}
	return l.makeNetwork(ctx)
}

// setUpMachines brings up machines, clusters and the bundle server side by side.
func (l *Lab) setUpMachines(ctx context.Context, rootfs string, made artifacts, options UpOptions) error {
	if err := l.linkPrograms(made); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range options.machines() {
		group.Go(func() error {
			if m.hasCluster() {
				return l.setUpCluster(ctx, m, rootfs, made)
			}
			return l.setUpMachine(ctx, m, inputs{rootfs: rootfs})
		})
	}
	if !options.HostedOnly {
		group.Go(func() error { return l.ensureRepository(ctx, made.Bundle) })
	}
	return group.Wait()
}

func (l *Lab) setUpMachine(ctx context.Context, m MachineSpec, in inputs) error {
	start := time.Now()
	booted, err := l.ensureMachine(ctx, l.asReset(m), in)
	if err != nil {
		return err
	}
	if booted {
		l.logf("machine %s is up after %.1fs", m.Name, time.Since(start).Seconds())
	}
	return nil
}

func (l *Lab) setUpCluster(ctx context.Context, m MachineSpec, rootfs string, made artifacts) error {
	if err := l.setUpMachine(ctx, m, inputs{rootfs: rootfs, pause: made.Pause, binds: made.binds()}); err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.ensureCluster(groupCtx, m, made) })
	if m.Role == RoleHost {
		first := len(made.Images)
		group.Go(func() error { return l.ensureImages(groupCtx, m, first, first+len(made.ArgoImages)) })
	}
	if err := group.Wait(); err != nil || m.Role != RoleHost {
		return err
	}
	return l.ensureArgo(ctx, made)
}

// Down takes the lab away: processes, mounts, cgroups, namespaces and the link
// to this computer. The caches and the state folder's keys stay; the disks go.
func (l *Lab) Down(ctx context.Context) error {
	if err := requireRoot(); err != nil {
		return err
	}
	if !exists(l.state) {
		return nil
	}
	unlock, err := l.lock("up")
	if err != nil {
		return err
	}
	defer unlock()
	problems := []error{
		l.haltAll(), l.removeVirtualMachines(), l.stopDaemons(), l.removeNetwork(ctx), l.restoreLimits(),
	}
	for _, m := range machines() {
		if err := errors.Join(l.disk(m).removeImage(), os.RemoveAll(l.machineDir(m.Name))); err != nil {
			problems = append(problems, fmt.Errorf("removing the disk of machine %q: %w", m.Name, err))
		}
		_ = os.Remove(l.KubeconfigPath(m.Name))
	}
	gone := []string{l.acceleratorNote(), l.BinDir(), l.HTTPDir(), l.registryDir(), l.postgresDir(), l.balancerConfig()}
	for _, d := range daemons() {
		gone = append(gone, l.pidFile(d), l.logFile(d))
	}
	for _, path := range gone {
		if err := os.RemoveAll(path); err != nil {
			problems = append(problems, fmt.Errorf("removing %q: %w", path, err))
		}
	}
	return errors.Join(problems...)
}

func (l *Lab) haltAll() error {
	var group errgroup.Group
	for _, m := range append(machines(), virtualMachines()...) {
		group.Go(func() error {
			unlock, err := l.lock("machine-" + m.Name)
			if err != nil {
				return err
			}
			defer unlock()
			return l.halt(m)
		})
	}
	return group.Wait()
}
