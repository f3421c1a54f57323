// Package powercut gives tests a file system whose power can be cut: ext4 on a loop device over memory. A cut is the
// kernel's own EXT4_IOC_SHUTDOWN without flushing the journal, so writes that were not synced are lost as with the
// power, and the next mount replays the journal.
package powercut

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/host"
)

// Disk is a file system that is mounted at Dir.
type Disk struct {
	// Dir has a short name, so that sockets fit below it.
	Dir string

	t     *testing.T
	image *os.File
	size  int64
}

// child tells the test's own process, started anew, that it is the one in a mount namespace of its own.
const child = "ARGOSY_POWERCUT_CHILD"

// Run runs a test in a process with private mounts, which go with it however it ends. It needs root: elsewhere than
// in CI, which runs as root, the test is skipped for others.
func Run(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cutting a disk's power needs root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Fatal("mkfs.ext4 is missing: apt-get install e2fsprogs")
	}
	if os.Getenv(child) == t.Name() {
		test(t)
		return
	}
	// Most of the time goes into waiting for the kernel to unmount.
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), child+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	output, err := cmd.CombinedOutput()
	t.Logf("%s", bytes.TrimSpace(output))
	assert.NilError(t, err)
}

// New makes and mounts a file system of size bytes, of which only written parts take memory.
func New(t *testing.T, size int64) *Disk {
	t.Helper()
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC)
	assert.NilError(t, err)
	d := &Disk{t: t, image: os.NewFile(uintptr(fd), "disk"), size: size}
	t.Cleanup(func() { _ = d.image.Close() })
	assert.NilError(t, d.image.Truncate(size))
	format := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", "/proc/self/fd/3")
	format.ExtraFiles = []*os.File{d.image}
	output, err := format.CombinedOutput()
	assert.NilError(t, err, "%s", output)
	d.Dir, err = os.MkdirTemp("", "m")
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.Remove(d.Dir) })
	d.Mount()
	t.Cleanup(func() { _ = unix.Unmount(d.Dir, unix.MNT_DETACH) })
	return d
}

// Mount mounts the file system, and replays its journal where its power was cut.
func (d *Disk) Mount() {
	d.t.Helper()
	loop := d.attach()
	defer loop.Close()
	assert.NilError(d.t, unix.Mount(loop.Name(), d.Dir, "ext4", 0, "noinit_itable"))
}

// attach connects a free loop device, which is free again when it is unmounted.
func (d *Disk) attach() *os.File {
	d.t.Helper()
	// A container may have neither node, although its kernel has the devices.
	if err := unix.Mknod("/dev/loop-control", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 237))); err != nil {
		assert.ErrorIs(d.t, err, unix.EEXIST)
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	assert.NilError(d.t, err)
	defer control.Close()
	for {
		free, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		assert.NilError(d.t, err)
		name := fmt.Sprintf("/dev/loop%d", free)
		if err := unix.Mknod(name, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(free)))); err != nil {
			assert.ErrorIs(d.t, err, unix.EEXIST)
		}
		loop, err := os.OpenFile(name, os.O_RDWR, 0)
		assert.NilError(d.t, err)
		config := unix.LoopConfig{Fd: uint32(d.image.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop
		}
		_ = loop.Close()
		// Another process may have taken it in the meantime.
		assert.ErrorIs(d.t, err, unix.EBUSY)
	}
}

// Unmount unmounts the file system. Nothing below it may be open.
func (d *Disk) Unmount() {
	d.t.Helper()
	assert.NilError(d.t, unix.Unmount(d.Dir, 0), "something below %q is still open", d.Dir)
}

// The ioctl that shuts ext4 down, _IOR('X', 125, __u32), and its flag for leaving the journal as it is on the disk.
const (
	ext4Shutdown   = 0x8004587d
	ext4NoLogFlush = 2
)

// Cut cuts the power: from here on every call on the file system fails, and writes that were not synced are lost.
func (d *Disk) Cut() {
	d.t.Helper()
	dir, err := os.Open(d.Dir)
	assert.NilError(d.t, err)
	defer dir.Close()
	how := uint32(ext4NoLogFlush)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), ext4Shutdown, uintptr(unsafe.Pointer(&how)))
	assert.Assert(d.t, errno == 0, "shutting down the file system: %v", errno)
}

// CutAt has the power fail at the nth change of h, and nothing change afterwards, until the returned function is
// called, which returns whether it came so far, and at which change. stopped is called when the power fails.
func (d *Disk) CutAt(h *host.Host, n int, stopped func()) (end func() (cut bool, at host.Change)) {
	var mu sync.Mutex
	count := 0
	var last host.Change
	h.Before = func(change host.Change) error {
		mu.Lock()
		defer mu.Unlock()
		if count++; count < n {
			return nil
		}
		if count == n {
			last = change
			d.Cut()
			stopped()
		}
		return syscall.EIO
	}
	return func() (bool, host.Change) {
		h.Before = nil
		return count >= n, last
	}
}

// Restart brings the disk back after a cut.
func (d *Disk) Restart() {
	d.t.Helper()
	d.Unmount()
	d.Mount()
}

// Image is a disk's content at one time.
type Image struct{ extents []extent }

type extent struct {
	at   int64
	data []byte
}

// Save copies the content of the disk, with all that was written.
func (d *Disk) Save() *Image {
	d.t.Helper()
	d.Unmount()
	defer d.Mount()
	image := &Image{}
	for at := int64(0); ; {
		start, err := d.image.Seek(at, unix.SEEK_DATA)
		if err != nil {
			assert.ErrorIs(d.t, err, unix.ENXIO) // no data behind
			return image
		}
		end, err := d.image.Seek(start, unix.SEEK_HOLE)
		assert.NilError(d.t, err)
		data := make([]byte, end-start)
		_, err = d.image.ReadAt(data, start)
		assert.NilError(d.t, err)
		image.extents, at = append(image.extents, extent{start, data}), end
	}
}

// Load restores the content of the image.
func (d *Disk) Load(image *Image) {
	d.t.Helper()
	d.Unmount()
	defer d.Mount()
	assert.NilError(d.t, d.image.Truncate(0))
	assert.NilError(d.t, d.image.Truncate(d.size))
	for _, e := range image.extents {
		_, err := d.image.WriteAt(e.data, e.at)
		assert.NilError(d.t, err)
	}
}
