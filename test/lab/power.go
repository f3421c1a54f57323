package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ownDiskSize is the size of a disk of a machine's own; it is a sparse file.
const ownDiskSize = 16 << 30

// Ext4's request to stop at once, and the flag that leaves even the journal as it is on the disk, from Linux'
// fs/ext4/ext4.h.
const (
	ext4Shutdown   = 0x8004587d
	withoutJournal = 2
)

// image is a machine's own disk, and own where it is mounted. Most machines have none: their files are on this
// computer's disk.
func (d disk) image() string { return filepath.Join(d.dir, "disk.img") }
func (d disk) own() string   { return filepath.Join(d.dir, "own") }

// data is the folder of all that a machine writes.
func (d disk) data() string {
	if exists(d.image()) {
		return d.own()
	}
	return d.dir
}

// resetWithOwnDisk resets a machine to files on a file system of its own. The next reset gives it a common disk again.
func (l *Lab) resetWithOwnDisk(ctx context.Context, m MachineSpec, bare bool) error {
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
	if err := l.disk(m).makeImage(ctx); err != nil {
		return fmt.Errorf("making its own disk: %w", err)
	}
	rootfs, err := l.rootfs(ctx)
	if err != nil {
		return err
	}
	if err := l.startMachine(ctx, m, inputs{rootfs: rootfs}); err != nil {
		return err
	}
	if err := l.disk(m).sync(); err != nil {
		return err
	}
	return l.forgetNode(ctx, m)
}

// CutPower stops the file system of the machine's own disk, and then kills its processes.
func (c container) CutPower(ctx context.Context) error {
	d := c.lab.disk(c.spec)
	if !exists(d.image()) {
		return fmt.Errorf("cutting the power of machine %q: it has no disk of its own; reset it with one", c.spec.Name)
	}
	unlock, err := c.lab.lock("machine-" + c.spec.Name)
	if err != nil {
		return err
	}
	defer unlock()
	plan, err := d.readPlan()
	if err != nil {
		return err
	}
	// The cable first, so that no process can tell of the errors that it gets from its disk.
	if err := setPort(ctx, c.spec, false); err != nil {
		return err
	}
	if err := d.stopImage(); err != nil {
		return fmt.Errorf("cutting the power of machine %q: %w", c.spec.Name, err)
	}
	if err := c.lab.halt(c.spec); err != nil {
		return err
	}
	if err := d.unmountImage(); err != nil {
		return err
	}
	// The kernel lets go of the last mounts of killed processes a moment later. Mounted before that, the file system
	// would be the one that was stopped.
	err = c.lab.await(ctx, "the last mount of "+d.image(), func(context.Context) error { return d.imageFree() }, nil)
	if err != nil {
		return err
	}
	return c.lab.startMachine(ctx, c.spec, inputs{rootfs: plan.Rootfs, binds: plan.Binds})
}

// makeImage makes an empty file system and mounts it.
func (d disk) makeImage(ctx context.Context) error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", d.dir, err)
	}
	file, err := os.Create(d.image())
	if err != nil {
		return fmt.Errorf("making the file of a disk: %w", err)
	}
	if err := errors.Join(file.Truncate(ownDiskSize), file.Close()); err != nil {
		return fmt.Errorf("sizing the file of a disk: %w", err)
	}
	if _, err := run(ctx, "mkfs.ext4", "-q", "-F", d.image()); err != nil {
		return fmt.Errorf("making a file system: %w", err)
	}
	return d.mountImage(ctx)
}

// mountImage mounts the machine's own disk, if it has one and it is not mounted.
func (d disk) mountImage(ctx context.Context) error {
	if !exists(d.image()) || d.imageMounted() {
		return nil
	}
	if err := os.MkdirAll(d.own(), 0o755); err != nil {
		return fmt.Errorf("making folder %q: %w", d.own(), err)
	}
	if _, err := run(ctx, "mount", "-o", "loop", d.image(), d.own()); err != nil {
		return fmt.Errorf("mounting a machine's own disk: %w", err)
	}
	return nil
}

func (d disk) imageMounted() bool {
	var inner, outer unix.Stat_t
	return unix.Stat(d.own(), &inner) == nil && unix.Stat(d.dir, &outer) == nil && inner.Dev != outer.Dev
}

// imageFree returns an error as long as a loop device uses the machine's own disk.
func (d disk) imageFree() error {
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return fmt.Errorf("listing loop devices: %w", err)
	}
	for _, device := range devices {
		if file, err := os.ReadFile(device); err == nil && strings.TrimSpace(string(file)) == d.image() {
			return fmt.Errorf("%q is in use", device)
		}
	}
	return nil
}

// stopImage has the file system stop at once, with all that is not on the disk yet.
func (d disk) stopImage() error {
	folder, err := os.Open(d.own())
	if err != nil {
		return fmt.Errorf("opening %q: %w", d.own(), err)
	}
	defer folder.Close()
	if err := unix.IoctlSetPointerInt(int(folder.Fd()), ext4Shutdown, withoutJournal); err != nil {
		return fmt.Errorf("shutting down the file system of %q: %w", d.own(), err)
	}
	return nil
}

// sync has all of the machine's own disk written: an operating system that was installed survives a power cut.
func (d disk) sync() error {
	folder, err := os.Open(d.own())
	if err != nil {
		return fmt.Errorf("opening %q: %w", d.own(), err)
	}
	defer folder.Close()
	if err := unix.Syncfs(int(folder.Fd())); err != nil {
		return fmt.Errorf("syncing %q: %w", d.own(), err)
	}
	return nil
}

func (d disk) unmountImage() error {
	if !d.imageMounted() {
		return nil
	}
	if err := unix.Unmount(d.own(), 0); err != nil {
		return fmt.Errorf("unmounting %q: %w", d.own(), err)
	}
	return nil
}

// removeImage takes the machine's own disk away.
func (d disk) removeImage() error {
	if err := d.unmountImage(); err != nil {
		return err
	}
	if err := os.Remove(d.image()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a machine's own disk: %w", err)
	}
	return nil
}
