package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// virtualMachine is a machine with a kernel of its own, under QEMU. Its disk is a file, and its network card a tap
// device on the lab's switch. QEMU runs by itself: it outlives the process that started it, and a guest that reboots
// stays in it.
type virtualMachine struct {
	lab  *Lab
	spec MachineSpec
}

var _ Machine = virtualMachine{}

// bootPoll is how often a wait for a guest asks again: more often would take processors from an emulated one.
const bootPoll = 500 * time.Millisecond

// Spec returns the description of the machine.
func (v virtualMachine) Spec() MachineSpec { return v.spec }

// Exec has the guest's agent run the command, on a channel that needs neither the guest's network nor its sshd.
func (v virtualMachine) Exec(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	if _, ok := readProcess(v.disk().pidFile()); !ok {
		return "", fmt.Errorf("machine %q is not up", v.spec.Name)
	}
	return v.agent().run(ctx, stdin, argv...)
}

// Reset ends QEMU, takes a new disk, and boots. Options do not matter: the disk is always one of its own, and the image
// has no pod network.
func (v virtualMachine) Reset(ctx context.Context, _ ResetOptions) error {
	if err := v.reset(ctx); err != nil {
		return fmt.Errorf("resetting machine %q: %w", v.spec.Name, err)
	}
	return v.lab.forgetNode(ctx, v.spec)
}

func (v virtualMachine) reset(ctx context.Context) error {
	if err := v.lab.ensurePackages(ctx, "vm"); err != nil {
		return err
	}
	unlock, err := v.lab.lock("machine-" + v.spec.Name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := v.halt(); err != nil {
		return err
	}
	image, err := v.lab.systemImage(ctx, v.spec.Suite)
	if err != nil {
		return err
	}
	if err := v.prepareDisk(ctx, image); err != nil {
		return err
	}
	for _, log := range []string{v.disk().logFile(), v.qemuLog()} {
		if err := os.RemoveAll(log); err != nil {
			return fmt.Errorf("removing the log of before: %w", err)
		}
	}
	return v.boot(ctx, image)
}

// Reboot asks the guest's systemd, and waits until another boot of the same disk answers.
func (v virtualMachine) Reboot(ctx context.Context) error {
	before, err := v.bootID(ctx)
	if err != nil {
		return err
	}
	if _, err := v.Exec(ctx, nil, "systemctl", "--no-block", "reboot"); err != nil {
		return fmt.Errorf("rebooting machine %q: %w", v.spec.Name, err)
	}
	err = v.lab.awaitWithin(ctx, v.patience(), bootPoll, fmt.Sprintf("machine %q to reboot", v.spec.Name),
		func(ctx context.Context) error {
			now, err := v.bootID(ctx)
			if err == nil && now == before {
				err = errors.New("it has not gone down yet")
			}
			return err
		}, v.isOff)
	if err != nil {
		return err
	}
	return v.WaitForSSH(ctx)
}

// bootID returns the kernel's own name of the guest's boot.
func (v virtualMachine) bootID(ctx context.Context) (string, error) {
	return v.Exec(ctx, nil, "cat", "/proc/sys/kernel/random/boot_id")
}

// CutPower kills QEMU and starts it again on the same disk.
func (v virtualMachine) CutPower(ctx context.Context) error {
	unlock, err := v.lab.lock("machine-" + v.spec.Name)
	if err != nil {
		return err
	}
	defer unlock()
	qemu, ok := readProcess(v.disk().pidFile())
	if !ok {
		return fmt.Errorf("cutting the power of machine %q: it is off", v.spec.Name)
	}
	if err := qemu.kill(); err != nil {
		return fmt.Errorf("cutting the power of machine %q: %w", v.spec.Name, err)
	}
	image, err := v.lab.systemImage(ctx, v.spec.Suite)
	if err != nil {
		return err
	}
	return v.boot(ctx, image)
}

// Connect sets whether the lab's switch passes the machine's frames.
func (v virtualMachine) Connect(ctx context.Context, connected bool) error {
	return setPort(ctx, v.spec, connected)
}

// WaitForSSH returns when sshd greets and the guest's agent answers.
func (v virtualMachine) WaitForSSH(ctx context.Context) error {
	limit := v.patience()
	err := v.lab.awaitWithin(ctx, limit, bootPoll, fmt.Sprintf("sshd of machine %q", v.spec.Name),
		func(ctx context.Context) error { return greeting(ctx, v.spec) }, v.isOff)
	if err != nil {
		return err
	}
	return v.lab.awaitWithin(ctx, limit, bootPoll, fmt.Sprintf("the guest agent of machine %q", v.spec.Name),
		v.agent().ping, v.isOff)
}

// isOff returns an error where QEMU does not run.
func (v virtualMachine) isOff() error {
	if _, ok := readProcess(v.disk().pidFile()); ok {
		return nil
	}
	log, _ := os.ReadFile(v.qemuLog())
	return fmt.Errorf("the machine is off: QEMU has ended\n%s", lastLines(string(log), 5))
}

// boot starts QEMU and waits until the machine can be worked with.
func (v virtualMachine) boot(ctx context.Context, image systemImage) error {
	start := time.Now()
	accelerator, err := v.lab.accelerator(ctx, image.kernel())
	if err != nil {
		return err
	}
	if err := plugTap(ctx, v.spec); err != nil {
		return err
	}
	if err := v.startQEMU(accelerator, image); err != nil {
		return fmt.Errorf("starting QEMU: %w", err)
	}
	if err := v.WaitForSSH(ctx); err != nil {
		console, _ := os.ReadFile(v.disk().logFile())
		return fmt.Errorf("booting machine %q: %w\n%s", v.spec.Name, err, lastLines(string(console), 20))
	}
	v.lab.logf("machine %s is up after %.1fs (%s)", v.spec.Name, time.Since(start).Seconds(), accelerator)
	return nil
}

// startQEMU starts QEMU in the network namespace of the lab's switch, in a session of its own.
func (v virtualMachine) startQEMU(accelerator accelerator, image systemImage) error {
	log, err := os.OpenFile(v.qemuLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening its log: %w", err)
	}
	defer log.Close()
	argv := append([]string{"ip", "netns", "exec", routerNamespace}, v.qemuArgv(accelerator, image)...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	// Both ip and QEMU have this number, since ip becomes QEMU.
	self, err := processByID(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }()
	if err != nil {
		return err
	}
	return self.write(v.disk().pidFile())
}

// halt ends QEMU. The guest hears nothing of it, as little as of a power cut.
func (v virtualMachine) halt() error { return v.lab.halt(v.spec) }

// patience is how long a wait for the guest may take.
func (v virtualMachine) patience() time.Duration {
	return waitLimit * time.Duration(v.lab.slowdown())
}

func (v virtualMachine) disk() disk      { return v.lab.disk(v.spec) }
func (v virtualMachine) qemuLog() string { return filepath.Join(v.disk().dir, "qemu.log") }
func (v virtualMachine) agent() agent {
	return agent{socket: filepath.Join(v.disk().dir, "agent.sock")}
}

// removeVirtualMachines halts all virtual machines and removes their disks.
func (l *Lab) removeVirtualMachines() error {
	var problems []error
	for _, m := range virtualMachines() {
		v := virtualMachine{l, m}
		if err := v.halt(); err != nil {
			problems = append(problems, err)
			continue
		}
		if err := os.RemoveAll(v.disk().dir); err != nil {
			problems = append(problems, fmt.Errorf("removing the disk of machine %q: %w", m.Name, err))
		}
	}
	return errors.Join(problems...)
}

// HaltVirtualMachines ends all virtual machines and keeps their disks.
func (l *Lab) HaltVirtualMachines() error {
	var problems []error
	for _, m := range virtualMachines() {
		problems = append(problems, virtualMachine{l, m}.halt())
	}
	return errors.Join(problems...)
}

// virtualMachineStatus is a line of `lab status`.
func (l *Lab) virtualMachineStatus(m MachineSpec) string {
	state := "down"
	if _, ok := readProcess(l.disk(m).pidFile()); ok {
		state = "up"
	}
	return strings.Join([]string{m.Name, m.Address, m.Login, state, "-", m.Note}, "\t")
}
