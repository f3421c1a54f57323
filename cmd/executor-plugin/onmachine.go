package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"argosy.dev/argosy/cmd/internal/program"
)

// standByCommand keeps the pod running through which a machine without SSH is upgraded; commands enter it by
// on-machine.
func standByCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "stand-by",
		Short:  "Wait to be ended",
		Hidden: true,
		Args:   program.NoArguments,
		Run:    func(command *cobra.Command, _ []string) { <-command.Context().Done() },
	}
}

// onMachineCommand runs a command in the machine's own namespaces, from a privileged pod that shares its processes.
func onMachineCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "on-machine -- PROGRAM [ARGUMENT...]",
		Short:  "Become a command on the machine that this pod runs on",
		Hidden: true,
		Args:   cobra.MinimumNArgs(1),
		RunE:   func(_ *cobra.Command, argv []string) error { return becomeOnMachine(argv) },
	}
}

// machinePath is where programs are looked for on a machine.
const machinePath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// becomeOnMachine enters the namespaces of the machine's first process and becomes the command there. Of the kernel's
// rules, a mount namespace is entered by a thread whose view of the file system is its own.
func becomeOnMachine(argv []string) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("parting from this container's file system: %w", err)
	}
	for _, namespace := range []struct {
		name string
		kind int
	}{{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET}, {"mnt", unix.CLONE_NEWNS}} {
		if err := enter(namespace.name, namespace.kind); err != nil {
			return err
		}
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("entering the machine's file system: %w", err)
	}
	if err := os.Setenv("PATH", machinePath[len("PATH="):]); err != nil {
		return fmt.Errorf("setting PATH: %w", err)
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("looking for %q on the machine: %w", argv[0], err)
	}
	return fmt.Errorf("running %q on the machine: %w", program,
		syscall.Exec(program, argv, []string{machinePath, "HOME=/root"}))
}

func enter(name string, kind int) error {
	file, err := os.Open("/proc/1/ns/" + name)
	if err != nil {
		return fmt.Errorf("looking for the machine's %s namespace, is this pod privileged, with hostPID?: %w", name,
			err)
	}
	defer file.Close()
	if err := unix.Setns(int(file.Fd()), kind); err != nil {
		return fmt.Errorf("entering the machine's %s namespace: %w", name, err)
	}
	return nil
}
