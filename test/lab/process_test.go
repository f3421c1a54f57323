package lab

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

// leaderless makes the test program a process whose first thread ends.
const leaderless = "ARGOSY_LAB_TEST_LEADERLESS"

func init() {
	if os.Getenv(leaderless) == "" {
		return
	}
	// A package's init runs on the process's first thread.
	runtime.LockOSThread()
	go func() {
		time.Sleep(time.Minute)
		os.Exit(0)
	}()
	time.Sleep(100 * time.Millisecond) // the other thread has begun
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
}

func TestProcessLivesUntilItsLastThreadEnds(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), leaderless+"=1", "GOMAXPROCS=2")
	assert.NilError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	p, err := processByID(cmd.Process.Pid)
	assert.NilError(t, err)
	for state := ""; state != "Z"; time.Sleep(5 * time.Millisecond) {
		state = stateOfProcess(t, p.pid)
	}
	assert.Assert(t, p.alive())

	assert.NilError(t, p.kill())
	assert.Assert(t, !p.alive())
}

// stateOfProcess returns the letter of /proc/PID/stat.
func stateOfProcess(t *testing.T, pid int) string {
	t.Helper()
	fields, err := statFields(pid)
	assert.NilError(t, err)
	return fields[stateField]
}
