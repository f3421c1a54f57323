package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestASecondClaimNamesTheHolder(t *testing.T) {
	state := t.TempDir()
	first, second := &Lab{state: state}, &Lab{state: state}
	assert.NilError(t, first.Claim("make demo"))
	holder := fmt.Sprintf("make demo (process %d) is at work on it", os.Getpid())
	assert.ErrorContains(t, second.Claim("the end-to-end tests"), holder)
	mark := filepath.Join(state, "touched")
	assert.ErrorContains(t, second.RunClaimed(t.Context(), "make demo", "touch", mark), holder)
	_, err := os.Stat(mark)
	assert.Assert(t, os.IsNotExist(err), "the second runs nothing")

	assert.NilError(t, first.claim.Close())
	assert.NilError(t, second.RunClaimed(t.Context(), "make demo", "touch", mark))
	_, err = os.Stat(mark)
	assert.NilError(t, err)
}

// The lab's machines are made by the program that runs below a claim, and outlive it.
func TestAClaimIsNotInherited(t *testing.T) {
	state := t.TempDir()
	first, second := &Lab{state: state}, &Lab{state: state}
	assert.NilError(t, first.RunClaimed(t.Context(), "make demo", "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $! > "+
		filepath.Join(state, "pid")))
	pid, err := os.ReadFile(filepath.Join(state, "pid"))
	assert.NilError(t, err)
	t.Cleanup(func() { _ = exec.Command("kill", string(pid[:len(pid)-1])).Run() })
	assert.NilError(t, first.claim.Close())
	assert.NilError(t, second.Claim("make demo"))
}

func TestTheDemoLeavesALabInUseAlone(t *testing.T) {
	state := t.TempDir()
	assert.NilError(t, (&Lab{state: state}).Claim("make demo"))
	runtime.GC() // of the Lab that is no longer referred to
	demo := exec.Command("../../examples/demo.sh")
	demo.Env = append(os.Environ(), "ARGOSY_LAB_DIR="+state)
	out, err := demo.CombinedOutput()
	assert.ErrorContains(t, err, "exit status")
	holder := fmt.Sprintf("claiming the lab in %q: make demo (process %d) is at work on it: wait for its end\n", state,
		os.Getpid())
	// It names its work at once, and every ten seconds that it is still at it.
	assert.Assert(t, strings.HasPrefix(string(out), "compiling the lab's own program"), string(out))
	assert.Assert(t, strings.HasSuffix(string(out), "\nclaiming the lab\nlab: "+holder+"exit status 1\n"), string(out))
}
