package upgrade

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/layout"
	"argosy.dev/argosy/pkg/node/nodetest"
	"argosy.dev/argosy/pkg/node/nodetest/powercut"
	"argosy.dev/argosy/pkg/node/spec"
)

// broken is a disk that takes no change of some kinds from one change on, or only not that one.
type broken struct {
	errno syscall.Errno
	stays bool
	// refuses are the kinds of change.
	refuses []host.Op
	// message and hint are parts of the error.
	message, hint string
}

var brokenDisks = map[string]broken{
	"full": {
		syscall.ENOSPC, true,
		[]host.Op{host.OpMkdir, host.OpWrite, host.OpLink, host.OpSync},
		"no space left on /", "make room on /",
	},
	"failing": {
		syscall.EIO, false,
		[]host.Op{host.OpMkdir, host.OpWrite, host.OpLink, host.OpSync, host.OpRename, host.OpRemove},
		"the disk fails on /", "see dmesg on the machine",
	},
}

// runsOn runs an operation on a disk that is broken from the nth change on. It reports whether it came so far, and
// how the operation ended: its error, or that of the status where even that could not be written.
func (c *cuttable) runsOn(disk broken, kind spec.Kind, n int) (met bool, at host.Change, ended *spec.Error, err error) {
	c.t.Helper()
	var mu sync.Mutex
	count := 0
	c.host.Before = func(change host.Change) error {
		mu.Lock()
		defer mu.Unlock()
		takes := true
		for _, op := range disk.refuses {
			takes = takes && op != change.Op
		}
		if takes {
			return nil
		}
		if count++; count < n || count > n && !disk.stays {
			return nil
		}
		if count == n {
			met, at = true, change
		}
		return disk.errno
	}
	defer func() { c.host.Before = nil }()
	op := c.operation(kind)
	if err := errors.Join(c.store.Prepare(op.ID), c.store.WriteOperation(op)); err != nil {
		return met, at, nil, err
	}
	var logged bytes.Buffer
	status, err := c.engine().Run(context.Background(), op.ID, context.Background(), &logged)
	if status != nil {
		ended = status.Error
	}
	return met, at, ended, err
}

// sweepBroken runs an operation with a broken disk from each change on, mends the disk and runs it again.
func (c *cuttable) sweepBroken(name string, disk broken, kind spec.Kind) {
	c.t.Helper()
	c.save()
	c.succeeds(kind)
	wanted := withoutTimes(c.beside())
	outcomes := map[string]int{}
	for n := 1; ; n++ {
		c.load()
		met, at, ended, err := c.runsOn(disk, kind, n)
		if !met {
			c.t.Logf("%s: the disk was %s at each of %d changes; the operation %v; all went on to the end",
				kind, name, n-1, outcomes)
			return
		}
		where := fmt.Sprintf("%s at change %d, %s %s", name, n, at.Op, at.Name)
		outcomes[c.tells(disk, ended, err, where)]++
		for owners, content := range replacedOwners {
			c.hasOriginal(owners, content)
		}
		c.resendBundle()
		status := c.runsKind(kind)
		assert.Equal(c.t, status.State, spec.Succeeded, "after %s: %s: %s", where, status.Phase, status.Message)
		assert.DeepEqual(c.t, withoutTimes(c.beside()), wanted)
	}
}

// tells makes sure that an operation names the disk's trouble, and returns how it ended.
func (c *cuttable) tells(disk broken, ended *spec.Error, err error, where string) string {
	c.t.Helper()
	if ended == nil && err == nil {
		return "succeeded" // what failed was no condition for it
	}
	if ended != nil {
		assert.Assert(c.t, strings.Contains(ended.Message, disk.message), "%s: %s", where, ended.Message)
		assert.Assert(c.t, strings.Contains(ended.Hint, disk.hint), "%s: %q", where, ended.Hint)
		assert.Equal(c.t, ended.Class, errclass.Permanent, "%s: %s", where, ended.Message)
		return "failed"
	}
	assert.ErrorContains(c.t, err, disk.message, where)
	return "could not note how it ended"
}

// These tests are not parallel: a program that one of them starts holds the lock of another machine for the moment in
// which it has our open files.

func TestDiskErrorFailsJoinAndTheNextContinues(t *testing.T) {
	for name, disk := range brokenDisks {
		newRestorable(t, nodetest.Root(t)).sweepBroken(name, disk, spec.KindJoin)
	}
}

func TestDiskErrorFailsUpgradeAndTheNextContinues(t *testing.T) {
	for name, disk := range brokenDisks {
		c := newRestorable(t, nodetest.Root(t))
		c.succeeds(spec.KindJoin)
		c.wantsNewer()
		c.sweepBroken(name, disk, spec.KindUpgrade)
	}
}

func TestDiskErrorFailsRollbackAndTheNextContinues(t *testing.T) {
	for name, disk := range brokenDisks {
		c := newRestorable(t, nodetest.Root(t))
		c.succeeds(spec.KindJoin)
		c.wantsNewer()
		c.succeeds(spec.KindUpgrade)
		c.sweepBroken(name, disk, spec.KindRollback)
	}
}

func TestFullDiskFailsWhileBundleStillArrives(t *testing.T) {
	powercut.Run(t, func(t *testing.T) {
		c := newCuttable(t)
		big := make([]byte, 16<<20)
		_, err := rand.Read(big)
		assert.NilError(t, err)
		data := nodetest.Bundle(t, map[string]string{"kubelet": string(big)})
		sum := sha256.Sum256(data)
		c.join.Bundle.SHA256, c.join.Bundle.Size = hex.EncodeToString(sum[:]), int64(len(data))
		// Most of it has arrived, and the sender is still at work.
		c.write(spec.BundlesDir+"/"+c.join.Bundle.SHA256+".tar.gz.partial", string(data[:len(data)*3/4]))
		c.fill(4 << 20)

		status := c.fails(spec.KindJoin)
		assert.Equal(t, status.Phase, "bundle", status.Message)
		assert.Assert(t, strings.Contains(status.Message, "no space left on /"), status.Message)
		assert.Assert(t, strings.Contains(status.Message, "release/kubelet"), status.Message)
		assert.Equal(t, status.Error.Class, errclass.Permanent)
		assert.Assert(t, strings.Contains(status.Error.Hint, "make room on /"), status.Error.Hint)
		entries, err := os.ReadDir(c.host.Path(layout.Store(c.join.BinariesPath)))
		assert.NilError(t, err)
		assert.Equal(t, len(entries), 0, "what did not fit is gone")
	})
}

// fill leaves only this many bytes of the disk.
func (c *cuttable) fill(free int64) {
	c.t.Helper()
	var stat syscall.Statfs_t
	assert.NilError(c.t, syscall.Statfs(c.host.Path("/srv"), &stat))
	file, err := os.Create(c.host.Path("/srv/full"))
	assert.NilError(c.t, err)
	defer file.Close()
	assert.NilError(c.t, syscall.Fallocate(int(file.Fd()), 0, 0, int64(stat.Bavail)*stat.Bsize-free))
}
