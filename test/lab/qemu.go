package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// accelerator is how QEMU carries out the guest's instructions.
type accelerator string

const (
	// kvm lets the processor do it.
	kvm accelerator = "kvm"
	// emulation translates them; it needs nothing of this computer.
	emulation accelerator = "emulated"
)

// EmulationSlowdown is by how much longer the lab waits for a virtual machine that is emulated. Emulated code takes
// about ten times as long, of which waits for timers and for the cluster are no part.
const EmulationSlowdown = 5

const (
	guestMemory     = "2048"
	guestProcessors = "2"
)

// qemuArgv is QEMU's command line for a machine.
//
// The disk's cache is "writeback": the guest's writes go to QEMU, and are durable when the guest has flushed its disk.
// Killed, QEMU takes along all that it alone knows, and the guest's page cache with it. The overlay is in the format
// qcow2, whose tables of new clusters QEMU writes at a flush: a write to a place of the disk that had none yet is lost
// without one, as with the volatile cache of a real disk. A write over a place that the disk had already is kept, since
// this computer goes on; a mode that bypasses this computer's page cache ("none") would keep as much, and needs a file
// system with direct I/O. Not suitable are "writethrough", which loses nothing, and "unsafe", which ignores flushes.
func (v virtualMachine) qemuArgv(accelerator accelerator, image systemImage) []string {
	argv := []string{"qemu-system-x86_64"}
	if accelerator == kvm {
		argv = append(argv, "-accel", "kvm", "-cpu", "host")
	} else {
		argv = append(argv, "-accel", "tcg,thread=multi", "-cpu", "max")
	}
	folder := v.disk().dir
	return append(
		argv, "-name", v.spec.Name, "-smp", guestProcessors, "-m", guestMemory,
		"-nodefaults", "-display", "none", "-monitor", "none",
		"-chardev", "file,id=console,append=on,path="+v.disk().logFile(), "-serial", "chardev:console",
		"-kernel", image.kernel(), "-initrd", image.initrd(),
		"-append", "root=/dev/vda rw console=ttyS0 panic=10",
		"-drive", "file="+overlayFile(folder)+",format=qcow2,if=virtio,cache=writeback",
		"-netdev", "tap,id=switch,ifname="+v.spec.Name+",script=no,downscript=no",
		"-device", "virtio-net-pci,netdev=switch,mac="+hardwareAddress(v.spec.Address),
		"-device", "virtio-rng-pci", "-device", "virtio-serial",
		"-chardev", "socket,id=agent,server=on,wait=off,path="+v.agent().socket,
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
	)
}

// hardwareAddress follows from a machine's address and never changes, as a real card's: a new one would be unreachable
// until everybody's neighbour tables expire.
func hardwareAddress(address string) string {
	ip := netip.MustParseAddr(address).As4()
	return fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", ip[0], ip[1], ip[2], ip[3])
}

// plugTap gives a virtual machine its port of the lab's switch. Frames pass as soon as QEMU opens the device, also
// where they did not before.
func plugTap(ctx context.Context, m MachineSpec) error {
	if _, err := run(ctx, "ip", "-n", routerNamespace, "link", "show", "dev", m.Name); err != nil {
		if err := ipBatch(ctx, routerNamespace, "tuntap add dev "+m.Name+" mode tap"); err != nil {
			return fmt.Errorf("making the port of machine %q: %w", m.Name, err)
		}
	}
	plug := fmt.Sprintf("link set %s master %s up", m.Name, m.segment().Bridge)
	if err := ipBatch(ctx, routerNamespace, plug); err != nil {
		return fmt.Errorf("plugging machine %q in: %w", m.Name, err)
	}
	return nil
}

// probeLimit is how long KVM may take for a kernel without a disk to come to its end, which takes it two seconds.
const probeLimit = 30 * time.Second

// accelerator returns kvm where this computer's KVM runs a kernel. That it can be opened proves nothing: inside of some
// virtual machines it accepts a guest, and then can't run one. The answer holds until this computer boots again.
func (l *Lab) accelerator(ctx context.Context, kernel string) (accelerator, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading this computer's boot: %w", err)
	}
	note := l.acceleratorNote()
	if text, err := os.ReadFile(note); err == nil {
		if known, ok := strings.CutPrefix(string(text), string(boot)); ok {
			return accelerator(known), nil
		}
	}
	found := kvm
	if err := probeKVM(ctx, kernel); err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		found = emulation
		l.logf("virtual machines are emulated, and waits for them %d times as long: %v", EmulationSlowdown, err)
	}
	if err := os.WriteFile(note, []byte(string(boot)+string(found)), 0o644); err != nil {
		return "", fmt.Errorf("noting what QEMU can use: %w", err)
	}
	return found, nil
}

func (l *Lab) acceleratorNote() string { return filepath.Join(l.state, "accelerator") }

// slowdown is by how much longer waits for virtual machines are; it is 1 with KVM. Before the first machine has booted
// it is that of emulation.
func (l *Lab) slowdown() int {
	if text, err := os.ReadFile(l.acceleratorNote()); err == nil && strings.HasSuffix(string(text), string(kvm)) {
		return 1
	}
	return EmulationSlowdown
}

// probeKVM boots a kernel that finds no disk and ends with a panic.
func probeKVM(ctx context.Context, kernel string) error {
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return fmt.Errorf("looking for KVM: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel,
		"-append", "console=ttyS0 panic=-1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return &RunError{Argv: cmd.Args, Output: lastLines(out.String(), 3), Err: err}
	}
	if !strings.Contains(out.String(), "Linux version") {
		return errors.New("booting a kernel with KVM: it prints nothing")
	}
	return nil
}
