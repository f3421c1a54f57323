package node

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/spec"
)

// TestStartFollowsItsTable walks the table in Start's comment.
func TestStartFollowsItsTable(t *testing.T) {
	for name, test := range map[string]struct {
		// works is the operation that holds the machine's lock.
		runningStatus string
		// before is the state that an earlier run of the operation left.
		before     spec.State
		alive      bool
		holds      bool
		impossible bool
		noToken    bool

		state   spec.State
		class   errclass.Class
		message string
		started bool
		// recorded is the state that is stored afterwards.
		recorded spec.State
	}{
		"it runs already": {
			runningStatus: "op", before: spec.Running, state: spec.Running,
			message: "earlier", recorded: spec.Running,
		},
		"it runs already, all holds": {
			runningStatus: "op", before: spec.Running, holds: true, state: spec.Running,
			message: "earlier", recorded: spec.Running,
		},
		"its unit was just started": {
			before: spec.Running, alive: true, state: spec.Running,
			message: "earlier", recorded: spec.Running,
		},
		"another one runs": {
			runningStatus: "other", state: spec.Failed, class: errclass.Transient,
			message: "machine m1 is busy with operation other (join, phase 4/9 containerd)",
		},
		"another one runs, all holds": {
			runningStatus: "other", holds: true, state: spec.Failed,
			class: errclass.Transient, message: "machine m1 is busy with operation other (join, phase 4/9 containerd)",
		},
		"the machine cannot": {
			impossible: true, state: spec.Failed, class: errclass.Permanent,
			message: "no disk", recorded: spec.Failed,
		},
		"nothing to do": {
			holds: true, state: spec.Succeeded,
			message: "no changes needed", recorded: spec.Succeeded,
		},
		"nothing to do, no token": {
			holds: true, noToken: true, state: spec.Succeeded,
			message: "no changes needed", recorded: spec.Succeeded,
		},
		"something to do": {
			state: spec.Running, message: "starting", started: true,
			recorded: spec.Running,
		},
		"something to do, no token": {
			noToken: true, state: spec.Failed, class: errclass.Configuration,
			message: "the machine is not joined yet, and the operation carries no bootstrap token",
		},
		"it failed before": {
			before: spec.Failed, state: spec.Running, message: "starting",
			started: true, recorded: spec.Running,
		},
		"it was cancelled before": {
			before: spec.Cancelled, state: spec.Running, message: "starting",
			started: true, recorded: spec.Running,
		},
		"it succeeded, but something drifted": {
			before: spec.Succeeded, state: spec.Running, message: "starting",
			started: true, recorded: spec.Running,
		},
		"it failed, but all holds by now": {
			before: spec.Failed, holds: true, state: spec.Succeeded,
			message: "no changes needed", recorded: spec.Succeeded,
		},
		"the machine rebooted meanwhile": {
			before: spec.Running, state: spec.Running, message: "starting",
			started: true, recorded: spec.Running,
		},
		"it ended, its unit still settles": {
			before: spec.Succeeded, alive: true, holds: true, state: spec.Succeeded,
			message: "no changes needed", recorded: spec.Succeeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newToy(t, "kubeadm")
			m.state["kubeadm"] = test.holds
			if test.impossible {
				m.impossible["kubeadm"] = errors.New("no disk")
			}
			op := m.operation("op")
			if test.before != "" {
				assert.NilError(t, m.engine.Store.Prepare("op"))
				assert.NilError(t, m.engine.Store.WriteStatus(&spec.Status{
					ID: "op", Kind: spec.KindJoin,
					State: test.before, Message: "earlier",
				}))
			}
			if test.runningStatus == "other" {
				assert.NilError(t, m.engine.Store.Prepare("other"))
				assert.NilError(t, m.engine.Store.WriteStatus(&spec.Status{
					ID: "other", Kind: spec.KindJoin,
					State: spec.Running, Phase: "containerd", Index: 4, Total: 9,
				}))
			}
			if test.runningStatus != "" {
				held, _, err := m.engine.Store.tryLock(test.runningStatus)
				assert.NilError(t, err)
				defer held.release()
			}
			m.units.alive["op"] = test.alive
			if test.noToken {
				op.Secrets = spec.Secrets{}
			}

			status, err := m.engine.Start(context.Background(), op)
			assert.NilError(t, err)

			assert.Equal(t, status.State, test.state)
			assert.Equal(t, status.Message, test.message)
			if test.class != "" {
				assert.Equal(t, status.Error.Class, test.class)
			}
			assert.Equal(t, len(m.units.started) == 1, test.started)
			assert.Assert(t, !status.Changed)
			stored, err := m.engine.Store.Status("op")
			if test.recorded == "" {
				assert.ErrorIs(t, err, os.ErrNotExist)
			} else {
				assert.NilError(t, err)
				assert.Equal(t, stored.State, test.recorded)
			}
			if !test.started {
				m.noSecretLeft()
				return
			}
			info, err := os.Stat(m.engine.Host.Path("/var/lib/argosy/ops/op/spec.json"))
			assert.NilError(t, err)
			assert.Equal(t, info.Mode(), os.FileMode(0o600))
			for _, dir := range []string{"/var/lib/argosy", "/var/lib/argosy/ops", "/var/lib/argosy/ops/op"} {
				info, err := os.Stat(m.engine.Host.Path(dir))
				assert.NilError(t, err)
				assert.Equal(t, info.Mode().Perm(), os.FileMode(0o700), dir)
			}
		})
	}
}

func TestFailedUnitIsTransientAndLeavesNoSecret(t *testing.T) {
	m := newToy(t, "one")
	m.units.err = errclass.With(errclass.Transient, errors.New("no bus"))
	status, err := m.engine.Start(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Failed)
	assert.Equal(t, status.Error.Class, errclass.Transient)
	m.noSecretLeft()
}

func TestTwoStartsAtOnceStartOneUnit(t *testing.T) {
	m := newToy(t, "one")
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			_, err := m.engine.Start(context.Background(), m.operation("op"))
			done <- err
		}()
	}
	for range cap(done) {
		assert.NilError(t, <-done)
	}
	assert.DeepEqual(t, m.units.started, []string{"op"})
}

func TestAnOldOperationIsForgotten(t *testing.T) {
	m := newToy(t, "one")
	for i := range maxOperations + 5 {
		id := "op-" + string(rune('a'+i))
		assert.NilError(t, m.engine.Store.Prepare(id))
		assert.NilError(t, m.engine.Store.WriteStatus(&spec.Status{
			ID: id, State: spec.Failed,
			Started: time.Unix(int64(i), 0),
		}))
	}
	_, err := m.engine.Start(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	all := m.engine.Store.Operations()
	assert.Equal(t, len(all), maxOperations)
	assert.Equal(t, all[0].ID, "op")
	_, err = os.Stat(m.engine.Host.Path("/var/lib/argosy/ops/op-a"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestCancellingMarksARunningOperation(t *testing.T) {
	m := newToy(t, "one")
	_, err := m.engine.Start(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	ctx, end := context.WithCancel(context.Background())
	defer end()
	stop := m.engine.Store.StopContext(ctx, "op")
	status, err := m.engine.Cancel(ctx, "op")
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Running)
	<-stop.Done()
	status, err = m.engine.Run(ctx, "op", stop, &discard{})
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Cancelled)
	// The mark is for that run alone.
	m.units.alive = map[string]bool{}
	_, err = m.engine.Start(ctx, m.operation("op"))
	assert.NilError(t, err)
	assert.Assert(t, !m.engine.Store.stopRequested("op"))
}

func TestCancellingADeadOperationRecordsIt(t *testing.T) {
	m := newToy(t, "one")
	_, err := m.engine.Start(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	m.units.alive = map[string]bool{}
	status, err := m.engine.Cancel(context.Background(), "op")
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Cancelled)
	m.noSecretLeft()
}

type discard struct{}

func (*discard) Write(p []byte) (int, error) { return len(p), nil }

func TestWatchingShowsEachChangeUntilTheEnd(t *testing.T) {
	m := newToy(t, "one", "two")
	_, err := m.engine.Start(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	proceed, entered := make(chan struct{}), make(chan struct{})
	m.during["one"] = func(context.Context, *Context) error { close(entered); <-proceed; return nil }
	go func() { _, _ = m.engine.Run(context.Background(), "op", nil, &discard{}) }()
	<-entered
	var seen []spec.State
	err = m.engine.Watch(context.Background(), "op", func(status *spec.Status) error {
		if len(seen) == 0 {
			close(proceed)
		}
		seen = append(seen, status.State)
		return nil
	})
	assert.NilError(t, err)
	assert.Equal(t, seen[0], spec.Running)
	assert.Equal(t, seen[len(seen)-1], spec.Succeeded)
}

func TestWatchingTellsOfAUnitThatDied(t *testing.T) {
	m := newToy(t, "one")
	_, err := m.engine.Start(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(m.engine.Store.logFile("op"), []byte("first\nlast words\n"), 0o600))
	m.units.alive = map[string]bool{}
	var last *spec.Status
	err = m.engine.Watch(context.Background(), "op", func(status *spec.Status) error { last = status; return nil })
	assert.NilError(t, err)
	assert.Equal(t, last.State, spec.Failed)
	assert.Equal(t, last.Error.Class, errclass.Transient)
	assert.Equal(t, last.Error.Message, "the operation's unit ended without a result")
	assert.DeepEqual(t, last.Error.Tail, []string{"first", "last words"})
	m.noSecretLeft()
}

func TestWatchingAnUnknownOperationIsAnError(t *testing.T) {
	m := newToy(t, "one")
	err := m.engine.Watch(context.Background(), "unknown", func(*spec.Status) error { return nil })
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestALockOutlivesNeitherItsHolderNorItsName(t *testing.T) {
	m := newToy(t, "one")
	first, _, err := m.engine.Store.tryLock("first")
	assert.NilError(t, err)
	second, other, err := m.engine.Store.tryLock("second")
	assert.NilError(t, err)
	assert.Assert(t, second == nil)
	assert.Equal(t, other.ID, "first")
	first.release()
	assert.Equal(t, m.engine.Store.Working(), "")
	second, _, err = m.engine.Store.tryLock("second")
	assert.NilError(t, err)
	assert.Equal(t, m.engine.Store.Working(), "second")
	second.release()
}

func TestStartRemovesSecretsOfEndedOperations(t *testing.T) {
	m := newToy(t, "one")
	for id, state := range map[string]spec.State{
		"failed": spec.Failed, "succeeded": spec.Succeeded, "damaged": "",
		"lost-its-power": spec.Running, "just-started": spec.Running,
	} {
		assert.NilError(t, m.engine.Store.Prepare(id))
		op := m.operation(id)
		assert.NilError(t, m.engine.Store.WriteOperation(op))
		discovery := m.engine.Host.Path(m.engine.Store.Dir(id) + "/discovery.json")
		assert.NilError(t, os.WriteFile(discovery, []byte(testToken), 0o600))
		if state == "" {
			assert.NilError(t, os.WriteFile(m.engine.Host.Path(m.engine.Store.Dir(id)+"/status.json"), nil, 0o600))
			continue
		}
		status := newStatus(op, 1)
		status.State = state
		assert.NilError(t, m.engine.Store.WriteStatus(&status))
	}
	m.units.alive["just-started"] = true
	_, err := m.engine.Start(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	for id, has := range map[string]bool{
		"failed": false, "succeeded": false, "lost-its-power": false, "just-started": true, "damaged": false,
	} {
		op, err := m.engine.Store.Operation(id)
		assert.NilError(t, err)
		assert.Equal(t, op.Secrets.BootstrapToken != "", has, id)
		assert.Equal(t, m.engine.Host.Exists(m.engine.Store.Dir(id)+"/discovery.json"), has, id)
	}
}

func TestPartialBundlesFromBeforeBootAreRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		mark  string
		stays bool
	}{
		"in this boot":    {mark: "boot-2\n", stays: true},
		"in another boot": {mark: "boot-1\n"},
		"mark lost":       {mark: "\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newToy(t, "one")
			partial := spec.BundlesDir + "/" + strings.Repeat("0", 64) + ".tar.gz.partial"
			for file, content := range map[string]string{
				"/proc/sys/kernel/random/boot_id": "boot-2\n", bundlesBootFile: test.mark, partial: "\x00\x00\x00",
			} {
				_, err := m.engine.Host.WriteFile(file, []byte(content), 0o600)
				assert.NilError(t, err)
			}
			op := m.operation("op")
			op.Join = &spec.Join{}
			_, err := m.engine.Start(context.Background(), op)
			assert.NilError(t, err)
			assert.Equal(t, m.engine.Host.Exists(partial), test.stays)
			assert.Equal(t, m.engine.Host.ReadLine(bundlesBootFile), "boot-2")
		})
	}
}
