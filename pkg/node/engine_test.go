package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
	"argosy.dev/argosy/pkg/node/spec"
)

const testToken = "abcdef.0123456789abcdef"

// toy is a machine with phases that hold when their name is in the state.
type toy struct {
	t      *testing.T
	engine *Engine
	units  *fakeUnits
	state  map[string]bool
	calls  []string
	// broken phases fail to apply, impossible ones to check; during runs while a phase applies.
	broken, impossible map[string]error
	during             map[string]func(ctx context.Context, c *Context) error
}

func newToy(t *testing.T, names ...string) *toy {
	h := &host.Host{Root: t.TempDir()}
	m := &toy{
		t: t, state: map[string]bool{}, broken: map[string]error{}, impossible: map[string]error{},
		during: map[string]func(context.Context, *Context) error{}, units: &fakeUnits{alive: map[string]bool{}},
	}
	var phases []Phase
	for _, name := range names {
		phases = append(phases, m.phase(name))
	}
	m.engine = &Engine{
		Host: h, Store: NewStore(h), Phases: map[spec.Kind][]Phase{spec.KindJoin: phases},
		Units: m.units,
	}
	return m
}

func (m *toy) phase(name string) Phase {
	return Phase{
		Name: name, Short: "doing " + name,
		Check: func(context.Context, *Context) (bool, string, error) {
			m.calls = append(m.calls, "check "+name)
			return m.state[name], name + " state", m.impossible[name]
		},
		Apply: func(ctx context.Context, c *Context) (string, error) {
			m.calls = append(m.calls, "apply "+name)
			if f := m.during[name]; f != nil {
				if err := f(ctx, c); err != nil {
					return "", err
				}
			}
			if err := m.broken[name]; err != nil {
				return "", err
			}
			m.state[name] = true
			return name + " done", nil
		},
	}
}

func (m *toy) operation(id string) *spec.Operation {
	return &spec.Operation{
		ID: id, Kind: spec.KindJoin, Cluster: "team-a", Machine: "m1", Timeout: spec.Duration(time.Minute),
		Join: &spec.Join{}, Secrets: spec.Secrets{BootstrapToken: testToken},
	}
}

// store writes the operation as a start does, and gives its log.
func (m *toy) store(op *spec.Operation) {
	m.t.Helper()
	assert.NilError(m.t, m.engine.Store.Prepare(op.ID))
	assert.NilError(m.t, m.engine.Store.WriteOperation(op))
}

func (m *toy) run(op *spec.Operation, stop context.Context) *spec.Status {
	m.t.Helper()
	m.store(op)
	status, err := m.engine.Run(context.Background(), op.ID, stop, &bytes.Buffer{})
	assert.NilError(m.t, err)
	stored, err := m.engine.Store.Status(op.ID)
	assert.NilError(m.t, err)
	assert.Equal(m.t, stored.State, status.State, "what is returned is what is stored")
	m.noSecretLeft()
	return status
}

func (m *toy) noSecretLeft() {
	m.t.Helper()
	_ = fsWalk(m.engine.Host.Root, func(path string, content []byte) {
		assert.Assert(m.t, !bytes.Contains(content, []byte(testToken)), "the token is left in %s", path)
	})
}

func fsWalk(root string, see func(path string, content []byte)) error {
	entries, err := os.ReadDir(root)
	for _, entry := range entries {
		path := root + "/" + entry.Name()
		if entry.IsDir() {
			err = errors.Join(err, fsWalk(path, see))
			continue
		}
		content, readErr := os.ReadFile(path)
		err = errors.Join(err, readErr)
		see(path, content)
	}
	return err
}

type fakeUnits struct {
	mu      sync.Mutex
	started []string
	alive   map[string]bool
	err     error
}

var _ Units = (*fakeUnits)(nil)

func (f *fakeUnits) Start(_ context.Context, id string, _ time.Duration) error {
	if f.err != nil {
		return f.err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = append(f.started, id)
	f.alive[id] = true
	return nil
}

func (f *fakeUnits) Alive(_ context.Context, id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.alive[id]
}

func outcomes(status *spec.Status) string {
	var all []string
	for _, phase := range status.Phases {
		all = append(all, phase.Name+" "+string(phase.Outcome))
	}
	return strings.Join(all, ", ")
}

func TestPhasesRunInOrderAndWhatHoldsIsSkipped(t *testing.T) {
	m := newToy(t, "one", "two", "three")
	m.state["two"] = true
	status := m.run(m.operation("op"), nil)
	assert.Equal(t, status.State, spec.Succeeded)
	assert.Equal(t, outcomes(status), "one applied, two held, three applied")
	assert.Assert(t, status.Changed)
	assert.Equal(t, strings.Join(m.calls, ", "), "check one, apply one, check two, check three, apply three")
	assert.Assert(t, !status.Finished.IsZero())
}

func TestASecondRunChangesNothing(t *testing.T) {
	m := newToy(t, "one", "two")
	m.run(m.operation("op"), nil)
	status := m.run(m.operation("op"), nil)
	assert.Equal(t, outcomes(status), "one held, two held")
	assert.Assert(t, !status.Changed)
	assert.Equal(t, status.Message, "no changes needed")
}

func TestAFailedPhaseEndsTheOperationAndIsResumedThere(t *testing.T) {
	m := newToy(t, "one", "two", "three")
	m.engine.Host.Runner = fakeRunner("running")
	m.broken["two"] = errclass.Errorf(errclass.Transient, "starting it: %w", &host.CommandError{
		Command: host.Command{Argv: []string{"systemctl", "start", "it's"}}, Output: []byte("first\n\nlast words\n"),
		Err: errors.New("exit status 1"),
	})
	status := m.run(m.operation("op"), nil)
	assert.Equal(t, status.State, spec.Failed)
	assert.Equal(t, outcomes(status), "one applied, two failed")
	assert.Equal(t, status.Error.Class, errclass.Transient)
	assert.Equal(t, status.Error.Phase, "two")
	assert.Equal(t, status.Error.Command, `systemctl start 'it'\''s'`)
	assert.DeepEqual(t, status.Error.Tail, []string{"first", "last words"})

	delete(m.broken, "two")
	assert.Equal(t, outcomes(m.run(m.operation("op"), nil)), "one held, two applied, three applied")
}

func TestACheckThatFailsEndsTheOperationWithItsProblems(t *testing.T) {
	m := newToy(t, "preflight", "two")
	m.impossible["preflight"] = Problems(errclass.Permanent, "the machine cannot become a node",
		[]string{"No disk.", "No memory."})
	status := m.run(m.operation("op"), nil)
	assert.Equal(t, status.State, spec.Failed)
	assert.DeepEqual(t, status.Error.Problems, []string{"No disk.", "No memory."})
	assert.Assert(t, !slices.Contains(m.calls, "apply two"))
}

func TestAnOperationStopsBetweenPhases(t *testing.T) {
	m := newToy(t, "one", "two")
	stop, cancel := context.WithCancelCause(context.Background())
	m.during["one"] = func(ctx context.Context, _ *Context) error { cancel(ErrCancelled); return ctx.Err() }
	status := m.run(m.operation("op"), stop)
	assert.Equal(t, status.State, spec.Cancelled)
	assert.Equal(t, status.Error.Class, errclass.Cancelled)
	assert.Equal(t, outcomes(status), "one applied", "what was under way is finished first")
}

func TestAPhaseThatSaysSoIsInterrupted(t *testing.T) {
	m := newToy(t, "one")
	stop, end := context.WithCancelCause(context.Background())
	m.during["one"] = func(ctx context.Context, c *Context) error {
		ctx, cancel := c.Interruptible(ctx)
		defer cancel()
		end(ErrCancelled)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	status := m.run(m.operation("op"), stop)
	assert.Equal(t, status.State, spec.Cancelled)
}

func TestAnOperationThatAShutdownEndsIsTransient(t *testing.T) {
	refused := &host.CommandError{
		Command: host.Command{Argv: []string{"systemctl", "restart", "it"}},
		Err:     errors.New("exit status 4"),
	}
	for name, test := range map[string]struct {
		told   bool
		system string
		class  errclass.Class
	}{
		"we were told to end":           {told: true, system: "running", class: errclass.Transient},
		"the machine is about to go":    {system: "stopping", class: errclass.Transient},
		"nothing of that, a real error": {system: "running", class: errclass.Permanent},
	} {
		t.Run(name, func(t *testing.T) {
			m := newToy(t, "one")
			m.engine.Host.Runner = fakeRunner(test.system)
			stop, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			m.during["one"] = func(context.Context, *Context) error {
				if test.told {
					cancel(ErrStopped)
				}
				return refused
			}
			status := m.run(m.operation("op"), stop)
			assert.Equal(t, status.State, spec.Failed)
			assert.Equal(t, status.Error.Class, test.class)
			assert.Equal(t, status.Error.Command, "systemctl restart it")
		})
	}
}

// fakeRunner answers every command with itself.
type fakeRunner string

func (f fakeRunner) Run(context.Context, host.Command) ([]byte, error) { return []byte(f), nil }

func TestTheDeadlineEndsTheOperation(t *testing.T) {
	m := newToy(t, "one", "two")
	m.during["one"] = func(ctx context.Context, _ *Context) error { <-ctx.Done(); return errors.New("killed") }
	op := m.operation("op")
	op.Timeout = spec.Duration(10 * time.Millisecond)
	status := m.run(op, nil)
	assert.Equal(t, status.State, spec.Failed)
	assert.Equal(t, status.Error.Phase, "one")
	assert.Equal(t, status.Error.Class, errclass.Transient)
	assert.ErrorContains(t, errors.New(status.Error.Message), "the operation ran into its deadline of 10ms")
}

func TestSecretsAreForgottenWhenAPhaseSaysSo(t *testing.T) {
	m := newToy(t, "one")
	m.during["one"] = func(_ context.Context, c *Context) error {
		assert.Equal(t, c.Operation.Secrets.BootstrapToken, testToken)
		assert.NilError(t, c.RemoveSecrets())
		m.noSecretLeft()
		return nil
	}
	m.run(m.operation("op"), nil)
}

func TestTheStatusIsWrittenWhileAPhaseWorks(t *testing.T) {
	m := newToy(t, "one", "two")
	m.during["two"] = func(_ context.Context, c *Context) error {
		status, err := m.engine.Store.Status("op")
		assert.NilError(t, err)
		assert.Equal(t, status.State, spec.Running)
		assert.Equal(t, status.Phase, "two")
		assert.Equal(t, status.Index, 2)
		assert.Equal(t, status.Message, "doing two")
		assert.Equal(t, outcomes(status), "one applied")
		c.SetMessage("sending %s", "bytes")
		c.Progress(spec.Progress{Done: 1, Total: 2})
		status, err = m.engine.Store.Status("op")
		assert.NilError(t, err)
		assert.Equal(t, status.Message, "sending bytes")
		assert.Assert(t, status.Progress == nil, "progress alone is not written more than four times a second")
		return nil
	}
	m.run(m.operation("op"), nil)
}

func TestAPhaseTellsHowManyBytesItReceived(t *testing.T) {
	m := newToy(t, "one", "two")
	m.during["one"] = func(_ context.Context, c *Context) error {
		c.Progress(spec.Progress{Done: 3, Total: 5})
		c.SetMessage("unpacking")
		c.Progress(spec.Progress{Done: 5, Total: 5})
		c.Progress(spec.Progress{Done: 2, Total: 5}) // the transfer broke off and begins anew
		c.Progress(spec.Progress{Done: 4, Total: 9, What: "app.tar"})
		return nil
	}
	status := m.run(m.operation("op"), nil)
	assert.Equal(t, status.Phases[0].Bytes, int64(11))
	assert.Equal(t, status.Phases[1].Bytes, int64(0))
}

func TestTwoOperationsDoNotRunAtOnce(t *testing.T) {
	m := newToy(t, "one")
	m.store(m.operation("other"))
	m.during["one"] = func(context.Context, *Context) error {
		status, err := m.engine.Run(context.Background(), "other", nil, &bytes.Buffer{})
		assert.NilError(t, err)
		assert.Equal(t, status.State, spec.Failed)
		assert.Equal(t, status.Error.Class, errclass.Transient)
		assert.Equal(t, status.Message, "machine m1 is busy with operation op (join, phase 1/1 one)")
		assert.Equal(t, m.engine.Store.Working(), "op")
		return nil
	}
	m.run(m.operation("op"), nil)
	assert.Equal(t, m.engine.Store.Working(), "")
}

func TestAPlanChecksEverythingAndAppliesNothing(t *testing.T) {
	m := newToy(t, "one", "two", "three")
	m.state["two"] = true
	status, err := m.engine.Plan(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	assert.Equal(t, outcomes(status), "one wanted, two held, three wanted")
	assert.Equal(t, status.State, spec.Running)
	m.impossible["one"] = errors.New("no")
	status, err = m.engine.Plan(context.Background(), m.operation("op"))
	assert.NilError(t, err)
	assert.Equal(t, status.State, spec.Failed)
	assert.Equal(t, outcomes(status), "one failed, two held, three wanted")
	assert.Assert(t, !slices.ContainsFunc(m.calls, func(call string) bool { return strings.HasPrefix(call, "apply") }))
	entries, err := os.ReadDir(m.engine.Host.Root)
	assert.NilError(t, err)
	assert.Equal(t, len(entries), 0, "a plan writes nothing")
}

func TestDeferredWorkRunsUnderLockBeforeFinalStatus(t *testing.T) {
	for _, broken := range []error{nil, errors.New("broken")} {
		m := newToy(t, "one")
		m.during["one"] = func(_ context.Context, c *Context) error {
			c.Defer(func() {
				assert.Equal(t, m.engine.Store.Working(), "op", "another operation must not begin meanwhile")
				status, err := m.engine.Store.Status("op")
				assert.NilError(t, err)
				assert.Equal(t, status.State, spec.Running)
				m.calls = append(m.calls, "deferred")
			})
			return broken
		}
		m.run(m.operation("op"), nil)
		assert.Equal(t, m.calls[len(m.calls)-1], "deferred")
		assert.Equal(t, m.engine.Store.Working(), "")
	}
}

func TestAnIDThatIsNoFileNameIsRefused(t *testing.T) {
	m := newToy(t, "one")
	for _, id := range []string{"", "../x", "a/b", "A", "-a", "a b", strings.Repeat("a", 64), "a\n"} {
		op := m.operation(id)
		_, err := m.engine.Start(context.Background(), op)
		assert.ErrorContains(t, err, "reading the operation's id", "%q", id)
		assert.Equal(t, errclass.ClassOf(err), errclass.Configuration)
	}
}

func TestSecretsDoNotShowInTheStatus(t *testing.T) {
	m := newToy(t, "one")
	status := m.run(m.operation("op"), nil)
	data, err := json.Marshal(status)
	assert.NilError(t, err)
	assert.Assert(t, !bytes.Contains(data, []byte(testToken)))
}
