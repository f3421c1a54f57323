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
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Reset puts machines back to clean, all at once: whatever ran on them is
// killed, their disks are wiped, their nodes in team-a deleted, and they boot.
// Address, host key and authorized keys stay. It returns when their sshd answers.
func (l *Lab) Reset(ctx context.Context, machineNames ...string) error {
	return l.reset(ctx, false, machineNames)
}

// ResetBare is Reset to a machine without a pod network: no CNI configuration
// and no routes to other machines' pods. It is for clusters that bring their
// own, and holds until the machine is reset again.
func (l *Lab) ResetBare(ctx context.Context, machineNames ...string) error {
	return l.reset(ctx, true, machineNames)
}

func (l *Lab) reset(ctx context.Context, bare bool, machineNames []string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range machineNames {
		m, err := l.Spec(name)
		if err != nil {
			return err
		}
		if m.hasCluster() {
			return fmt.Errorf("resetting machine %q: it carries a cluster; use `lab down` and `lab up`", name)
		}
		group.Go(func() error {
			if err := l.resetMachine(ctx, m, bare); err != nil {
				return fmt.Errorf("resetting machine %q: %w", m.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (l *Lab) resetMachine(ctx context.Context, m MachineSpec, bare bool) error {
	unlock, err := l.lock("machine-" + m.Name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.off(m, bare); err != nil {
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

// off halts a machine and takes away all that it has written.
func (l *Lab) off(m MachineSpec, bare bool) error {
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
		if err := l.off(m, false); err != nil {
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
	// What a supervisor that crashed left behind.
	return d.clearCgroups()
}

func (l *Lab) running(m MachineSpec) bool {
	_, err := l.leader(m)
	return err == nil
}

// leader is the number of the machine's init as this computer sees it.
func (l *Lab) leader(m MachineSpec) (int, error) {
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
	err := within(namespace, func() (err error) {
		dialer := net.Dialer{Timeout: time.Second}
		conn, err = dialer.DialContext(ctx, "tcp", address)
		return err
	})
	return conn, err
}

// within calls do on a thread that is in a network namespace.
func within(namespace string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread changes its namespace and is never given back: Go ends
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

// Exec runs argv on a machine as root, past its sshd, and returns its output.
// The error is a *RunError if the command itself ended badly.
func (l *Lab) Exec(ctx context.Context, name string, argv ...string) (string, error) {
	return l.ExecInput(ctx, name, nil, argv...)
}

// ExecInput is Exec with something on standard input.
func (l *Lab) ExecInput(ctx context.Context, name string, stdin io.Reader, argv ...string) (string, error) {
	enter, err := l.enterArgv(name)
	if err != nil {
		return "", err
	}
	return runInput(ctx, stdin, append(enter, argv...)...)
}

// enterArgv is the start of a command line that runs the rest on the machine.
func (l *Lab) enterArgv(name string) ([]string, error) {
	m, err := l.Spec(name)
	if err != nil {
		return nil, err
	}
	pid, err := l.leader(m)
	if err != nil {
		return nil, err
	}
	return []string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--root", "--wd",
		"--", "/usr/bin/env", "--ignore-environment",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"LC_ALL=C.UTF-8"}, nil
}

// Reboot has a machine reboot in an orderly way and waits for its sshd.
func (l *Lab) Reboot(ctx context.Context, name string) error {
	m, err := l.Spec(name)
	if err != nil {
		return err
	}
	before, err := l.leader(m)
	if err != nil {
		return err
	}
	if _, err := l.Exec(ctx, name, "systemctl", "reboot"); err != nil {
		// Its own command may be killed by the reboot that it asked for.
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return fmt.Errorf("rebooting machine %q: %w", name, err)
		}
	}
	err = l.await(ctx, fmt.Sprintf("machine %q to reboot", name), func(context.Context) error {
		now, err := l.leader(m)
		if err == nil && now == before {
			err = errors.New("it has not gone down yet")
		}
		return err
	}, nil)
	if err != nil {
		return err
	}
	return l.waitForSSH(ctx, m)
}

// KillSSHD kills every sshd process of a machine, connections included, with
// SIGKILL. systemd starts the listening one again.
func (l *Lab) KillSSHD(ctx context.Context, name string) error {
	if _, err := l.Exec(ctx, name, "pkill", "-KILL", "-x", "sshd"); err != nil {
		return fmt.Errorf("killing sshd of machine %q: %w", name, err)
	}
	return nil
}

// WaitForSSH returns when the sshd of a machine greets.
func (l *Lab) WaitForSSH(ctx context.Context, name string) error {
	m, err := l.Spec(name)
	if err != nil {
		return err
	}
	return l.waitForSSH(ctx, m)
}

// Drop makes the lab's switch drop every frame to and from a machine, as a
// pulled-out cable that nobody notices: the link stays up.
func (l *Lab) Drop(ctx context.Context, name string) error { return l.port(ctx, name, false) }

// Undrop ends what Drop began.
func (l *Lab) Undrop(ctx context.Context, name string) error { return l.port(ctx, name, true) }

func (l *Lab) port(ctx context.Context, name string, open bool) error {
	m, err := l.Spec(name)
	if err != nil {
		return err
	}
	return setPort(ctx, m, open)
}

// SSHArgv is a command line of OpenSSH that logs in to a machine with the lab's
// key, over the bastion where there is one; add a command to run there.
func (l *Lab) SSHArgv(name string) ([]string, error) {
	m, err := l.Spec(name)
	if err != nil {
		return nil, err
	}
	options := []string{"-F", "none", "-i", l.KeyPath(), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + l.KnownHostsPath(), "-o", "LogLevel=ERROR"}
	argv := append([]string{"ssh"}, options...)
	if m.Bastion != "" {
		bastion, err := l.SSHArgv(m.Bastion)
		if err != nil {
			return nil, err
		}
		host := bastion[len(bastion)-1]
		jump := append(bastion[:len(bastion)-1:len(bastion)-1], "-W", "[%h]:%p", host)
		argv = append(argv, "-o", "ProxyCommand="+quoteArgv(jump))
	}
	return append(argv, m.Login+"@"+m.Address), nil
}

// lock takes a lock file of the lab, so that two commands do not work on the
// same machine at once. It waits.
func (l *Lab) lock(name string) (unlock func(), err error) {
	dir := filepath.Join(l.state, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making folder %q: %w", dir, err)
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening lock %q: %w", name, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("taking lock %q: %w", name, err)
	}
	return func() { file.Close() }, nil
}
