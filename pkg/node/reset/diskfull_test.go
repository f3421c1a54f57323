package reset

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

// TestDiskErrorFailsResetAndTheNextContinues has the disk refuse the nth change: with one I/O error, or every
// write from there on, as a full disk does, which still removes.
func TestDiskErrorFailsResetAndTheNextContinues(t *testing.T) {
	for name, test := range map[string]struct {
		errno  syscall.Errno
		refuse func(op host.Op, count, n int) bool
		says   string
	}{
		"failing": {syscall.EIO, func(_ host.Op, count, n int) bool { return count == n }, "the disk fails on /"},
		"full": {syscall.ENOSPC, func(op host.Op, count, n int) bool {
			return count >= n && op != host.OpRemove && op != host.OpRename
		}, "no space left on /"},
	} {
		t.Run(name, func(t *testing.T) {
			outcomes := map[string]int{}
			for n := 1; ; n++ {
				m := newNode(t)
				var mu sync.Mutex
				count := 0
				m.host.Before = func(change host.Change) error {
					mu.Lock()
					defer mu.Unlock()
					if count++; test.refuse(change.Op, count, n) {
						return test.errno
					}
					return nil
				}
				status, err := m.tries()
				m.host.Before = nil
				switch {
				case status != nil && status.State == spec.Failed:
					outcomes["failed"]++
					assert.Assert(t, strings.Contains(status.Message, test.says), "change %d: %s", n, status.Message)
					assert.Equal(t, status.Error.Class, errclass.Permanent)
					assert.Assert(t, status.Error.Hint != "")
				case err != nil:
					outcomes["could not note how it ended"]++
					assert.ErrorContains(t, err, test.says)
				default:
					outcomes["succeeded"]++
				}
				for content, places := range ownersPlaces {
					assert.Assert(t, m.holdsOne(places, content), "change %d: none of %v holds %q", n, places, content)
				}
				assert.NilError(t, m.store.Prepare(m.operation.ID))
				again, log := m.reset()
				assert.Equal(t, again.State, spec.Succeeded, "after change %d: %s", n, log)
				assertClean(t, m)
				if count < n {
					t.Logf("reset: the disk was %s at each of %d changes; the operation %v; all went on to the end",
						name, n-1, outcomes)
					return
				}
			}
		})
	}
}

// tries begins and runs a reset, and returns how it ended, as far as that could be written.
func (m *machine) tries() (*spec.Status, error) {
	if err := errors.Join(m.store.Prepare(m.operation.ID), m.store.WriteOperation(m.operation)); err != nil {
		return nil, err
	}
	var log strings.Builder
	return m.engine().Run(m.t.Context(), m.operation.ID, m.t.Context(), &log)
}
