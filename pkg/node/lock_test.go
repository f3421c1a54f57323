package node

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
)

func TestLockNameCountsOnlyForItsProcess(t *testing.T) {
	gone := exec.Command("true")
	assert.NilError(t, gone.Run())
	for name, test := range map[string]struct {
		change func(*holder)
		counts bool
	}{
		"its own":                              {func(*holder) {}, true},
		"of an argosy-node without start time": {func(h *holder) { h.Boot, h.Start = "", "" }, true},
		"its PID was reused":                   {func(h *holder) { h.Start = "1" }, false},
		"the machine booted since":             {func(h *holder) { h.Boot = "another" }, false},
		"its process is gone":                  {func(h *holder) { h.PID = gone.Process.Pid }, false},
		"gone, without start time": {func(h *holder) {
			*h = holder{ID: h.ID, PID: gone.Process.Pid}
		}, false},
		"half a name":   {func(h *holder) { *h = holder{ID: h.ID} }, false},
		"not a process": {func(h *holder) { *h = holder{ID: h.ID, PID: -1} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			store := newToy(t, "one").engine.Store
			// Another process holds the lock, which has not written its own name yet.
			held, _, err := store.tryLock("op")
			assert.NilError(t, err)
			defer held.release()
			stands := self("op")
			test.change(&stands)
			data, err := json.Marshal(stands)
			assert.NilError(t, err)
			assert.NilError(t, os.WriteFile(store.host.Path(spec.LockFile), data, 0o600))

			want := "unknown"
			if test.counts {
				want = "op"
			}
			assert.Equal(t, store.Working(), want)
		})
	}
}

func TestAProcessHasAStartTimeWhateverItsNameIs(t *testing.T) {
	odd := t.TempDir() + "/a) R (b"
	sleep, err := exec.LookPath("sleep")
	assert.NilError(t, err)
	content, err := os.ReadFile(sleep)
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(odd, content, 0o755))
	process := exec.Command(odd, "60")
	assert.NilError(t, process.Start())
	start := startTime(process.Process.Pid)
	assert.NilError(t, process.Process.Kill())
	_ = process.Wait() // it was killed
	assert.Assert(t, len(start) > 1, "%q", start)
	assert.Equal(t, startTime(process.Process.Pid), "")
}
