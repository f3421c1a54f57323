package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// systemPackages make a machine as an installer would: a kernel, an init, a login, and the agent through which the
	// lab works on it past its sshd. There is nothing of Kubernetes, and nothing that only the lab would bring.
	systemPackages = "systemd,systemd-sysv,dbus,udev,kmod,openssh-server,sudo,iproute2,iptables,procps," +
		"ca-certificates,linux-image-amd64,qemu-guest-agent"
	// systemDiskSize is the size of a virtual machine's disk; it is a sparse file.
	systemDiskSize = 16 << 30
)

// systemScript runs inside a virtual machine's new root file system.
//
//go:embed manifests/vm.sh
var systemScript string

// systemImage is the folder of a Debian suite's kernel, initrd, and disk without anything of one machine.
type systemImage struct{ dir string }

func (i systemImage) kernel() string { return filepath.Join(i.dir, "vmlinuz") }
func (i systemImage) initrd() string { return filepath.Join(i.dir, "initrd") }
func (i systemImage) disk() string   { return filepath.Join(i.dir, "disk.img") }

// systemImage returns the image of a suite, made by debootstrap the first time. Its name holds a digest of all its
// inputs.
func (l *Lab) systemImage(ctx context.Context, suite string) (systemImage, error) {
	digest := sha256.Sum256(fmt.Appendln(nil, suite, systemPackages, systemDiskSize, systemScript))
	image := systemImage{filepath.Join(l.cache, "lab", "vm-"+suite+"-"+hex.EncodeToString(digest[:8]))}
	if exists(image.dir) {
		return image, nil
	}
	unlock, err := l.lock("vm-" + suite)
	if err != nil {
		return systemImage{}, err
	}
	defer unlock()
	if exists(image.dir) {
		return image, nil // another process has made it
	}
	start := time.Now()
	l.logf("making the system of %s's virtual machine (some minutes)", suite)
	if err := l.makeSystemImage(ctx, suite, image); err != nil {
		return systemImage{}, fmt.Errorf("making the system %q: %w", image.dir, err)
	}
	l.logf("system of %s made in %s", suite, time.Since(start).Round(time.Second))
	return image, nil
}

func (l *Lab) makeSystemImage(ctx context.Context, suite string, image systemImage) error {
	mirror, err := debianMirror(ctx)
	if err != nil {
		return err
	}
	partial := systemImage{image.dir + ".partial"}
	root := filepath.Join(partial.dir, "root")
	if err := errors.Join(os.RemoveAll(partial.dir), os.MkdirAll(root, 0o755)); err != nil {
		return fmt.Errorf("making %q: %w", root, err)
	}
	// All suites of today are made in the same way, also those that an older debootstrap does not know.
	if _, err := run(ctx, "debootstrap", "--variant=minbase", "--include="+systemPackages, suite, root, mirror,
		"/usr/share/debootstrap/scripts/sid"); err != nil {
		return fmt.Errorf("bootstrapping Debian %s: %w", suite, err)
	}
	l.logf("Debian %s is unpacked; making its disk", suite)
	if _, err := runInput(ctx, strings.NewReader(systemScript), "chroot", root, "/bin/sh", "-eu"); err != nil {
		return fmt.Errorf("configuring Debian %s: %w", suite, err)
	}
	if err := takeKernel(root, partial); err != nil {
		return err
	}
	if err := makeSparse(partial.disk(), systemDiskSize); err != nil {
		return err
	}
	if _, err := run(ctx, "mkfs.ext4", "-q", "-F", "-d", root, partial.disk()); err != nil {
		return fmt.Errorf("making a file system: %w", err)
	}
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("removing %q: %w", root, err)
	}
	if err := os.Rename(partial.dir, image.dir); err != nil {
		return fmt.Errorf("naming %q: %w", image.dir, err)
	}
	return nil
}

// takeKernel moves the system's one kernel and its initrd beside its disk: QEMU starts them directly.
func takeKernel(root string, image systemImage) error {
	for pattern, target := range map[string]string{"vmlinuz-*": image.kernel(), "initrd.img-*": image.initrd()} {
		found, err := filepath.Glob(filepath.Join(root, "boot", pattern))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("looking for one %q in the system's /boot: found %d", pattern, len(found))
		}
		if err := os.Rename(found[0], target); err != nil {
			return fmt.Errorf("taking the kernel: %w", err)
		}
	}
	return nil
}

func makeSparse(path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("making the file of a disk: %w", err)
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return fmt.Errorf("sizing the file of a disk: %w", err)
	}
	return nil
}

// baseFile is a machine's own disk as it is after an installation, and overlayFile has its writes since.
func baseFile(folder string) string    { return filepath.Join(folder, "base.img") }
func overlayFile(folder string) string { return filepath.Join(folder, "disk.qcow2") }

// prepareDisk gives a machine that is off an empty overlay on its base, which it makes where it is missing or of other
// inputs.
func (v virtualMachine) prepareDisk(ctx context.Context, image systemImage) error {
	folder := v.disk().dir
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", folder, err)
	}
	if err := v.ensureBase(ctx, image); err != nil {
		return err
	}
	if err := os.Remove(overlayFile(folder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the disk of before: %w", err)
	}
	if _, err := run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", baseFile(folder),
		overlayFile(folder)); err != nil {
		return fmt.Errorf("making an overlay: %w", err)
	}
	return nil
}

// ensureBase copies the suite's disk and puts the machine's own files on it.
func (v virtualMachine) ensureBase(ctx context.Context, image systemImage) error {
	if err := v.lab.ensureVirtualMachineKeys(ctx, v.spec); err != nil {
		return err
	}
	files, err := v.files()
	if err != nil {
		return err
	}
	d := v.disk()
	base, stamp := baseFile(d.dir), stampOf(inputs{rootfs: image.dir}, files)
	if old, err := os.ReadFile(d.stamp()); err == nil && string(old) == stamp && exists(base) {
		return nil
	}
	if err := os.RemoveAll(d.stamp()); err != nil {
		return fmt.Errorf("removing the stamp of before: %w", err)
	}
	if _, err := run(ctx, "cp", "--sparse=always", image.disk(), base); err != nil {
		return fmt.Errorf("copying the system's disk: %w", err)
	}
	if err := placeOnDisk(ctx, base, d.root(), files); err != nil {
		return err
	}
	if err := os.WriteFile(d.stamp(), []byte(stamp), 0o644); err != nil {
		return fmt.Errorf("stamping the disk: %w", err)
	}
	return nil
}

// placeOnDisk mounts a disk at a folder, as long as it takes to write files there.
func placeOnDisk(ctx context.Context, disk, folder string, files []file) (err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", folder, err)
	}
	if _, err := run(ctx, "mount", "-o", "loop", disk, folder); err != nil {
		return fmt.Errorf("mounting a machine's disk: %w", err)
	}
	defer func() {
		if problem := unix.Unmount(folder, 0); problem != nil {
			err = errors.Join(err, fmt.Errorf("unmounting %q: %w", folder, problem))
		}
	}()
	for _, f := range files {
		if err := f.place(folder, folder); err != nil {
			return fmt.Errorf("placing %q: %w", f.path, err)
		}
	}
	return nil
}

// files are those of one machine, as its owner would have set them at the installation.
func (v virtualMachine) files() ([]file, error) {
	m := v.spec
	keys, err := v.lab.authorizedKeys()
	if err != nil {
		return nil, err
	}
	ssh, err := v.lab.sshFiles(m)
	if err != nil {
		return nil, err
	}
	network := fmt.Sprintf("[Match]\nMACAddress=%s\n\n[Network]\nAddress=%s/%d\nGateway=%s\n",
		hardwareAddress(m.Address), m.Address, m.segment().Prefix.Bits(), m.segment().Router)
	return append(
		ssh,
		file{path: "/etc/hostname", mode: 0o644, data: m.Name + "\n"},
		file{path: "/etc/hosts", mode: 0o644, data: hostsFile() + m.Address + " " + m.Name + "\n"},
		file{path: "/etc/machine-id", mode: 0o444, data: machineID(v.lab.state, m.Name) + "\n"},
		file{path: "/etc/resolv.conf", mode: 0o644, data: "nameserver " + uplinkAddress + "\n"},
		file{path: "/etc/systemd/network/10-lab.network", mode: 0o644, data: network},
		file{path: "/root/.ssh/authorized_keys", mode: 0o600, data: keys},
		file{path: registriesFolder + "/" + RegistryAddress + "/hosts.toml", mode: 0o644, data: registryHosts()},
	), nil
}
