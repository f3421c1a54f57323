package node

import (
	"context"
	"os"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/node/spec"
)

// frozen puts a status in place as a file system does whose clock stands still: its time never changes.
func (m *toy) frozen(write func() error) {
	m.t.Helper()
	assert.NilError(m.t, write())
	name := m.engine.Store.host.Path(m.engine.Store.name("op", "status.json"))
	assert.NilError(m.t, os.Chtimes(name, time.Unix(1700000000, 0), time.Unix(1700000000, 0)))
}

func (m *toy) old(content string) func() error {
	return func() error {
		_, err := m.engine.Host.WriteFile(m.engine.Store.name("op", "status.json"), []byte(content), 0o600)
		return err
	}
}

func TestAChangeIsSeenWhateverTheFilesTimeIs(t *testing.T) {
	for name, test := range map[string]struct {
		first, last func(m *toy) func() error
	}{
		"both written by this argosy-node": {
			first: func(m *toy) func() error { return m.writes(spec.Running) },
			last:  func(m *toy) func() error { return m.writes(spec.Succeeded) },
		},
		"both by one without sequence numbers": {
			first: func(m *toy) func() error { return m.old(`{"id":"op","state":"running"}`) },
			last:  func(m *toy) func() error { return m.old(`{"id":"op","state":"failed"}`) },
		},
		"started by an older one": {
			first: func(m *toy) func() error { return m.old(`{"id":"op","state":"running"}`) },
			last:  func(m *toy) func() error { return m.writes(spec.Failed) },
		},
		"ended by an older one": {
			first: func(m *toy) func() error { return m.writes(spec.Running) },
			last:  func(m *toy) func() error { return m.old(`{"id":"op","state":"cancelled"}`) },
		},
		"started anew in an emptied folder, as first write of both": {
			first: func(m *toy) func() error { return m.old(`{"id":"op","state":"running","sequence":1}`) },
			last:  func(m *toy) func() error { return m.old(`{"id":"op","state":"failed","sequence":1}`) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newToy(t, "a")
			assert.NilError(t, m.engine.Store.Prepare("op"))
			m.units.alive["op"] = true
			m.frozen(test.first(m))
			// Without the last status the watch would not end.
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var last spec.State
			err := m.engine.Watch(ctx, "op", func(status *spec.Status) error {
				if last = status.State; last == spec.Running {
					m.frozen(test.last(m))
				}
				return nil
			})
			assert.NilError(t, err)
			assert.Assert(t, last.Final(), "the watch ended with its context, at %q", last)
		})
	}
}

// writes stores a status with this state.
func (m *toy) writes(state spec.State) func() error {
	return func() error { return m.engine.Store.WriteStatus(&spec.Status{ID: "op", State: state}) }
}

func TestTheSequenceGrowsAcrossRunsOfAnOperation(t *testing.T) {
	m := newToy(t, "a")
	var seen []uint64
	m.during["a"] = func(context.Context, *Context) error {
		status, err := m.engine.Store.Status("op")
		assert.NilError(t, err)
		seen = append(seen, status.Sequence)
		return nil
	}
	for range 2 {
		m.state = map[string]bool{}
		status := m.run(m.operation("op"), context.Background())
		seen = append(seen, status.Sequence)
	}
	for i := range seen[1:] {
		assert.Assert(t, seen[i] > 0 && seen[i+1] > seen[i], "%v", seen)
	}
}
