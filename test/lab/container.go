package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// container is a machine that is a systemd container of this computer. Its processes are this computer's, its files a
// folder of this computer's disk, and its network a namespace that is wired to the lab's switch.
type container struct {
	lab  *Lab
	spec MachineSpec
}

var _ Machine = container{}

// Spec returns the description of the machine as it was reset last.
func (c container) Spec() MachineSpec { return c.spec }

// Exec enters the namespaces of the machine's init.
func (c container) Exec(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	pid, err := c.lab.initPID(c.spec)
	if err != nil {
		return "", err
	}
	enter := []string{
		"nsenter", "--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid",
		"--cgroup", "--root", "--wd", "--", "/usr/bin/env", "--ignore-environment",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8",
	}
	return runInput(ctx, stdin, append(enter, argv...)...)
}

// Reset kills the container's processes, removes the folder of its files, and boots it again.
func (c container) Reset(ctx context.Context, options ResetOptions) error {
	if c.spec.hasCluster() {
		return fmt.Errorf("resetting machine %q: it carries a cluster; use `lab down` and `lab up`", c.spec.Name)
	}
	reset := c.lab.resetMachine
	if options.OwnDisk {
		reset = c.lab.resetWithOwnDisk
	}
	if err := reset(ctx, c.spec, options.WithoutPodNetwork); err != nil {
		return fmt.Errorf("resetting machine %q: %w", c.spec.Name, err)
	}
	return nil
}

// Reboot asks the machine's systemd.
func (c container) Reboot(ctx context.Context) error {
	before, err := c.lab.initPID(c.spec)
	if err != nil {
		return err
	}
	if _, err := c.Exec(ctx, nil, "systemctl", "reboot"); err != nil {
		// Its own command may be killed by the reboot that it asked for.
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return fmt.Errorf("rebooting machine %q: %w", c.spec.Name, err)
		}
	}
	err = c.lab.await(ctx, fmt.Sprintf("machine %q to reboot", c.spec.Name), func(context.Context) error {
		now, err := c.lab.initPID(c.spec)
		if err == nil && now == before {
			err = errors.New("it has not gone down yet")
		}
		return err
	}, nil)
	if err != nil {
		return err
	}
	return c.WaitForSSH(ctx)
}

// Connect sets whether the lab's switch passes the machine's frames.
func (c container) Connect(ctx context.Context, connected bool) error {
	return setPort(ctx, c.spec, connected)
}

// WaitForSSH asks from the machine's own network, so that it works behind the bastion too.
func (c container) WaitForSSH(ctx context.Context) error { return c.lab.waitForSSH(ctx, c.spec) }

func (l *Lab) resetMachine(ctx context.Context, m MachineSpec, bare bool) error {
	unlock, err := l.lock("machine-" + m.Name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.erase(m, bare); err != nil {
		return err
	}
	if m, err = l.Spec(m.Name); err != nil {
		return err
	}
	rootfs, err := l.rootfs(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.startMachine(ctx, m, inputs{rootfs: rootfs}) })
	group.Go(func() error { return l.forgetNode(ctx, m) })
	return group.Wait()
}

// erase halts a machine and takes away all that it has written.
func (l *Lab) erase(m MachineSpec, bare bool) error {
	if err := l.halt(m); err != nil {
		return err
	}
	if err := l.disk(m).removeImage(); err != nil {
		return err
	}
	if err := l.disk(m).wipe(); err != nil {
		return err
	}
	return l.disk(m).setBare(bare)
}

// forgetNode deletes the node that a machine was in the cluster team-a: a
// machine that is clean is a member of nothing.
func (l *Lab) forgetNode(ctx context.Context, m MachineSpec) error {
	if !exists(l.KubeconfigPath("team-a")) {
		return nil
	}
	if _, err := l.Kubectl(ctx, "team-a", "delete", "node", m.Name, "--ignore-not-found", "--wait=false",
		"--request-timeout=10s"); err != nil {
		return fmt.Errorf("forgetting node %q: %w", m.Name, err)
	}
	return nil
}

// ensureMachine boots a machine unless it runs already from the same inputs.
// It reports whether it had to boot it.
func (l *Lab) ensureMachine(ctx context.Context, m MachineSpec, in inputs) (booted bool, err error) {
	unlock, err := l.lock("machine-" + m.Name)
	if err != nil {
		return false, err
	}
	defer unlock()
	files, err := l.machineFiles(ctx, m, in)
	if err != nil {
		return false, err
	}
	if exists(l.disk(m).image()) {
		// Left by a test of power cuts that was killed: nothing on it can be relied on.
		if err := l.erase(m, false); err != nil {
			return false, err
		}
	}
	stamp, _ := os.ReadFile(l.disk(m).stamp())
	if string(stamp) == stampOf(in, files) && l.running(m) && l.greets(ctx, m) {
		return false, nil
	}
	if err := l.halt(m); err != nil {
		return false, err
	}
	return true, l.startMachine(ctx, m, in)
}

// startMachine prepares the disk of a machine that is off, boots it, and waits
// for its sshd.
func (l *Lab) startMachine(ctx context.Context, m MachineSpec, in inputs) error {
	d := l.disk(m)
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", d.dir, err)
	}
	if _, err := l.prepare(ctx, m, in); err != nil {
		return err
	}
	if err := d.writePlan(bootPlan{Rootfs: in.rootfs, Binds: in.binds}); err != nil {
		return err
	}
	if _, err := l.detach(ctx, d.pidFile(), d.logFile(), "supervise", m.Name); err != nil {
		return err
	}
	if err := l.waitForSSH(ctx, m); err != nil {
		console, _ := os.ReadFile(d.logFile())
		return fmt.Errorf("booting machine %q: %w\n%s", m.Name, err, lastLines(string(console), 20))
	}
	return nil
}

// halt kills a machine and everything that belongs to it but its disk.
func (l *Lab) halt(m MachineSpec) error {
	d := l.disk(m)
	if supervisor, ok := readProcess(d.pidFile()); ok {
		if err := supervisor.stop(15 * time.Second); err != nil {
			return err
		}
	}
	// A supervisor that crashed leaves them behind.
	return d.clearCgroups()
}

func (l *Lab) running(m MachineSpec) bool {
	_, err := l.initPID(m)
	return err == nil
}

// initPID returns the number of the machine's init as this computer sees it.
func (l *Lab) initPID(m MachineSpec) (int, error) {
	supervisor, ok := readProcess(l.disk(m).pidFile())
	if !ok {
		return 0, fmt.Errorf("machine %q is not up", m.Name)
	}
	for _, nspawn := range children(supervisor.pid) {
		for _, pid := range children(nspawn) {
			if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil &&
				strings.TrimSpace(string(name)) == "systemd" {
				return pid, nil
			}
		}
	}
	return 0, fmt.Errorf("machine %q is not up: it has no init", m.Name)
}

// failedEvery is how often a wait for sshd looks whether systemd has given it up.
const failedEvery = 5 * time.Second

// waitForSSH waits until the machine's sshd greets, seen from its own network,
// so that it works behind the bastion too. It ends early when the machine is off.
func (l *Lab) waitForSSH(ctx context.Context, m MachineSpec) error {
	looked := time.Now()
	return l.await(ctx, fmt.Sprintf("sshd of machine %q", m.Name),
		func(ctx context.Context) error { return greeting(ctx, m) },
		func() error {
			if _, ok := readProcess(l.disk(m).pidFile()); !ok {
				return errors.New("the machine is off")
			}
			if time.Since(looked) < failedEvery {
				return nil
			}
			looked = time.Now()
			out, err := l.Exec(ctx, m.Name, "systemctl", "show", "--property=ActiveState", "--value", "ssh.service")
			if err == nil && strings.TrimSpace(out) == "failed" {
				return errors.New("ssh.service has failed on it, and systemd starts it no more")
			}
			return nil
		})
}

// greets reports whether the sshd of a machine that runs greets within half a minute; if not, a boot repairs it.
func (l *Lab) greets(ctx context.Context, m MachineSpec) bool {
	ctx, cancel := context.WithTimeout(ctx, waitLimit/20)
	defer cancel()
	return l.waitForSSH(ctx, m) == nil
}

func greeting(ctx context.Context, m MachineSpec) error {
	conn, err := dialFrom(ctx, m.namespace(), net.JoinHostPort(m.Address, "22"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return fmt.Errorf("limiting the greeting: %w", err)
	}
	hello := make([]byte, len("SSH-2.0"))
	if _, err := io.ReadFull(conn, hello); err != nil {
		return fmt.Errorf("reading the greeting: %w", err)
	}
	if string(hello) != "SSH-2.0" {
		return fmt.Errorf("reading the greeting: got %q", hello)
	}
	return nil
}

// dialFrom dials a numeric address from within a network namespace.
func dialFrom(ctx context.Context, namespace, address string) (net.Conn, error) {
	var conn net.Conn
	err := callInNamespace(namespace, func() (err error) {
		dialer := net.Dialer{Timeout: time.Second}
		conn, err = dialer.DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}

// callInNamespace calls do on a thread that is in a network namespace.
func callInNamespace(namespace string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread changes its namespace and is never used again: Go ends
		// it with the goroutine that locked it.
		runtime.LockOSThread()
		space, err := os.Open(filepath.Join("/run/netns", namespace))
		if err != nil {
			done <- fmt.Errorf("opening namespace %q: %w", namespace, err)
			return
		}
		defer space.Close()
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering namespace %q: %w", namespace, err)
			return
		}
		done <- do()
	}()
	return <-done
}
