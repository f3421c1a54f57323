package lab

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestVirtualMachinesShareNoNameOrAddressWithContainers(t *testing.T) {
	taken := map[string]bool{}
	for _, m := range append(machines(), virtualMachines()...) {
		assert.Assert(t, !taken[m.Name] && !taken[m.Address], m.Name)
		taken[m.Name], taken[m.Address] = true, true
		assert.Assert(t, m.segment().Prefix.Contains(m.segment().Router))
	}
}

func TestLabReturnsMachineOfTheKindThatItsSpecNames(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	for _, m := range append(machines(), virtualMachines()...) {
		found, err := l.Machine(m.Name)
		assert.NilError(t, err)
		_, virtual := found.(virtualMachine)
		assert.Equal(t, virtual, m.Suite != "", m.Name)
	}
}

func TestQEMUFlushesOnlyWhenGuestDoes(t *testing.T) {
	v := virtualMachine{&Lab{state: "/lab"}, virtualMachines()[0]}
	for _, how := range []accelerator{kvm, emulation} {
		argv := v.qemuArgv(how, systemImage{"/image"})
		disk := argv[slices.Index(argv, "-drive")+1]
		assert.Equal(t, disk, "file=/lab/machines/bookworm/disk.qcow2,format=qcow2,if=virtio,cache=writeback")
		assert.Equal(t, slices.Contains(argv, "kvm"), how == kvm)
	}
}

func TestEmulationMakesTheLabWaitLonger(t *testing.T) {
	l := &Lab{state: t.TempDir()}
	v := virtualMachine{l, virtualMachines()[0]}
	note := func(how accelerator) {
		assert.NilError(t, os.WriteFile(l.acceleratorNote(), []byte("a boot\n"+string(how)), 0o644))
	}
	note(kvm)
	assert.Equal(t, v.patience(), waitLimit)
	note(emulation)
	assert.Equal(t, v.patience(), EmulationSlowdown*waitLimit)
}

func TestVirtualMachinesAreEmulatedWhereKVMRunsNoKernel(t *testing.T) {
	for name, c := range map[string]struct {
		qemu string
		want accelerator
	}{
		"it crashes":       {"echo 'KVM internal error'; exit 1", emulation},
		"it ends silently": {"exit 0", emulation},
		"the kernel boots": {"echo 'Linux version 6.1'; exit 0", kvm},
	} {
		t.Run(name, func(t *testing.T) {
			if !exists("/dev/kvm") {
				c.want = emulation
			}
			bin := t.TempDir()
			qemu := filepath.Join(bin, "qemu-system-x86_64")
			assert.NilError(t, os.WriteFile(qemu, []byte("#!/bin/sh\n"+c.qemu+"\n"), 0o755))
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			var log strings.Builder
			l := &Lab{state: t.TempDir(), log: &log}
			found, err := l.accelerator(t.Context(), "kernel")
			assert.NilError(t, err)
			assert.Equal(t, found, c.want)
			assert.Equal(t, strings.Contains(log.String(), "waits for them 5 times as long"), c.want == emulation)

			// The answer is kept: without QEMU it is the same.
			assert.NilError(t, os.Remove(qemu))
			found, err = l.accelerator(context.Background(), "kernel")
			assert.NilError(t, err)
			assert.Equal(t, found, c.want)
		})
	}
}
