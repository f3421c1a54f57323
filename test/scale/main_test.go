// Package scale runs whole workflows with hundreds and thousands of machines: the real Argo controller, agent and
// plugin, and a real API server with its etcd. Machines are simulated, and so is the kubelet that runs the agent pod:
// its containers are processes. Everything is in namespaces of its own and ends with the test.
package scale

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// isolated is set in the process that has namespaces of its own.
const isolated = "ARGOSY_SCALE_ISOLATED"

// TestMain runs the tests in a network, a mount and a process namespace of their own: addresses of 127.0.0.0/8, the
// ports of Argo and the plugin, and /run are theirs, and whatever they started ends with them.
func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Println("skipped: namespaces, and so these tests, need root")
		os.Exit(0)
	}
	if os.Getenv(isolated) == "" {
		os.Exit(isolate())
	}
	if err := prepare(); err != nil {
		fmt.Println("preparing the namespaces:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// isolate runs this program again in new namespaces, and returns its exit code.
func isolate() int {
	runtime.LockOSThread() // the kernel ends the program with this thread
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = append(os.Environ(), isolated+"=true")
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	if err := command.Run(); err != nil && command.ProcessState == nil {
		fmt.Println("starting the tests in namespaces of their own:", err)
		return 1
	}
	return command.ProcessState.ExitCode()
}

func prepare() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting /run: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer func() { _ = unix.Close(socket) }()
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("naming the loopback device: %w", err)
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("setting the loopback device up: %w", err)
	}
	return nil
}
