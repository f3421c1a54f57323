//go:build vm

package lab

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
)

// Tests of the lab's virtual machines alone: they need the lab's network, and no cluster. `make e2e-vm` runs them.

// switchOnce gives this computer the lab's keys and network, once for all tests.
var switchOnce = sync.OnceValues(func() (*Lab, error) {
	l, err := Open()
	if err != nil {
		return nil, err
	}
	if err := l.Claim("the tests of the lab"); err != nil {
		return nil, err
	}
	if err := l.ensurePackages(context.Background(), "lab", "vm"); err != nil {
		return nil, err
	}
	if err := l.ensureKeys(context.Background()); err != nil {
		return nil, err
	}
	return l, l.setUpNetwork(context.Background())
})

// eachVirtualMachine calls test with one clean virtual machine after another; it is off afterwards.
func eachVirtualMachine(t *testing.T, test func(t *testing.T, l *Lab, m Machine)) {
	t.Helper()
	l, err := switchOnce()
	assert.NilError(t, err)
	for _, spec := range virtualMachines() {
		t.Run(spec.Name, func(t *testing.T) {
			m, err := l.Machine(spec.Name)
			assert.NilError(t, err)
			t.Cleanup(func() { assert.NilError(t, l.HaltVirtualMachines()) })
			assert.NilError(t, m.Reset(t.Context(), ResetOptions{}))
			test(t, l, m)
		})
	}
}

func output(t *testing.T, m Machine, argv ...string) string {
	t.Helper()
	out, err := m.Exec(t.Context(), nil, argv...)
	assert.NilError(t, err)
	return strings.TrimSpace(out)
}

func TestVirtualMachineSystemsAreMade(t *testing.T) {
	l, err := Open()
	assert.NilError(t, err)
	assert.NilError(t, l.ensurePackages(t.Context(), "vm"))
	for _, m := range virtualMachines() {
		image, err := l.systemImage(t.Context(), m.Suite)
		assert.NilError(t, err)
		_, err = run(t.Context(), "e2fsck", "-fn", image.disk())
		assert.NilError(t, err)
		assert.Assert(t, exists(image.kernel()) && exists(image.initrd()))
	}
}

func TestVirtualMachineIsAnOrdinaryMachine(t *testing.T) {
	eachVirtualMachine(t, func(t *testing.T, l *Lab, m Machine) {
		assert.Equal(t, output(t, m, "stat", "--file-system", "--format=%T", "/sys/fs/cgroup"), "cgroup2fs")
		ours, err := run(t.Context(), "uname", "-r")
		assert.NilError(t, err)
		assert.Assert(t, output(t, m, "uname", "-r") != strings.TrimSpace(ours))
		assert.Equal(t, output(t, m, "hostname"), m.Spec().Name)
		assert.Equal(t, output(t, m, "systemctl", "list-units", "--failed", "--plain", "--no-legend"), "")

		argv, err := l.SSHArgv(m.Spec().Name)
		assert.NilError(t, err)
		out, err := run(t.Context(), append(argv, "id", "-un")...)
		assert.NilError(t, err)
		assert.Equal(t, out, "root\n")

		out, err = m.Exec(t.Context(), strings.NewReader("in\x00put"), "cat")
		assert.NilError(t, err)
		assert.Equal(t, out, "in\x00put")
		_, err = m.Exec(t.Context(), nil, "ls", "/no-such-folder")
		var ended *RunError
		assert.Assert(t, errors.As(err, &ended), "%v", err)
		assert.ErrorContains(t, err, "No such file")

		assert.NilError(t, m.Connect(t.Context(), false))
		assert.Assert(t, greeting(t.Context(), m.Spec()) != nil)
		assert.Equal(t, output(t, m, "hostname"), m.Spec().Name)
		assert.NilError(t, m.Connect(t.Context(), true))
		assert.NilError(t, m.WaitForSSH(t.Context()))
	})
}

// It shows without a guest how qemuArgv's comment describes a power cut.
func TestVirtualMachineDiskLosesWritesWithoutFlush(t *testing.T) {
	folder := t.TempDir()
	base, overlay := baseFile(folder), overlayFile(folder)
	assert.NilError(t, makeSparse(base, 16<<20))
	_, err := run(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay)
	assert.NilError(t, err)

	_, err = run(t.Context(), "qemu-io", "-f", "qcow2", "-t", "writeback", overlay, "-c", "write -P 1 0 64k",
		"-c", "flush", "-c", "write -P 2 8M 64k", "-c", "write -P 3 0 4k", "-c", "sigraise 9")
	assert.ErrorContains(t, err, "killed")

	for _, kept := range []string{"-P 1 4k 60k", "-P 0 8M 64k", "-P 3 0 4k"} {
		out, err := run(t.Context(), "qemu-io", "-r", "-f", "qcow2", overlay, "-c", "read "+kept)
		assert.NilError(t, err)
		assert.Assert(t, !strings.Contains(out, "failed"), out)
	}
}

func TestVirtualMachineKeepsWhatIsOnItsDisk(t *testing.T) {
	eachVirtualMachine(t, func(t *testing.T, _ *Lab, m Machine) {
		key := output(t, m, "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
		output(t, m, "sh", "-c", "echo kept > /var/before-reboot")
		assert.NilError(t, m.Reboot(t.Context()))
		assert.Equal(t, output(t, m, "cat", "/var/before-reboot"), "kept")

		output(t, m, "sh", "-c", "echo kept > /var/synced && sync && echo lost > /var/not-synced")
		assert.NilError(t, m.CutPower(t.Context()))
		assert.Equal(t, output(t, m, "cat", "/var/synced"), "kept")
		assert.Equal(t, output(t, m, "sh", "-c", "cat /var/not-synced 2>/dev/null || true"), "")

		assert.NilError(t, m.Reset(t.Context(), ResetOptions{}))
		assert.Equal(t, output(t, m, "sh", "-c", "ls /var/synced /var/before-reboot 2>/dev/null || true"), "")
		assert.Equal(t, output(t, m, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"), key)
	})
}
