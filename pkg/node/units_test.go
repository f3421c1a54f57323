package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/errclass"
	"argosy.dev/argosy/pkg/node/host"
)

// fakeSystemd answers systemctl show with the states in turn, and lets a unit start when the last one was "inactive".
type fakeSystemd struct {
	states []string
	calls  []string
	starts func(n int) error
	n      int
}

func (f *fakeSystemd) Run(_ context.Context, c host.Command) ([]byte, error) {
	f.calls = append(f.calls, c.String())
	switch {
	case c.Argv[0] == "systemd-run":
		f.n++
		return nil, f.starts(f.n)
	case c.Argv[1] == "show":
		state := f.states[0]
		if len(f.states) > 1 {
			f.states = f.states[1:]
		}
		return []byte(state + "\n"), nil
	}
	return nil, nil
}

func TestAUnitRunsThisProgramWithinItsTime(t *testing.T) {
	systemd := &fakeSystemd{states: []string{"inactive"}, starts: func(int) error { return nil }}
	units := &Systemd{Runner: systemd, Self: "/usr/local/bin/argosy-node-1"}
	assert.NilError(t, units.Start(context.Background(), "op", time.Minute))
	assert.Equal(t, len(systemd.calls), 1)
	assert.Assert(t, strings.HasPrefix(systemd.calls[0], "systemd-run --quiet --collect --unit=argosy-op.service "),
		systemd.calls[0])
	assert.Assert(t, strings.Contains(systemd.calls[0], "--property=RuntimeMaxSec=90 "), systemd.calls[0])
	assert.Assert(t, strings.HasSuffix(systemd.calls[0], " -- /usr/local/bin/argosy-node-1 run --id op"),
		systemd.calls[0])
}

func TestAUnitThatIsStillGoingIsWaitedFor(t *testing.T) {
	refused := errors.New("already loaded")
	systemd := &fakeSystemd{states: []string{"deactivating", "failed", "inactive"}, starts: func(n int) error {
		if n < 3 {
			return refused
		}
		return nil
	}}
	units := &Systemd{Runner: systemd, Self: "/argosy-node"}
	assert.NilError(t, units.Start(context.Background(), "op", 0))
	assert.Assert(t, strings.Contains(strings.Join(systemd.calls, "\n"), "systemctl reset-failed argosy-op.service"))
}

func TestAUnitThatCannotStartIsTransient(t *testing.T) {
	systemd := &fakeSystemd{states: []string{"inactive"}, starts: func(int) error { return errors.New("no bus") }}
	err := (&Systemd{Runner: systemd, Self: "/argosy-node"}).Start(context.Background(), "op", 0)
	assert.ErrorContains(t, err, "no bus")
	assert.Equal(t, errclass.ClassOf(err), errclass.Transient)
}

func TestAUnitIsAliveWhileItRuns(t *testing.T) {
	for state, want := range map[string]bool{
		"active": true, "activating": true, "deactivating": false, "failed": false,
		"inactive": false, "": false,
	} {
		systemd := &fakeSystemd{states: []string{state}}
		assert.Equal(t, (&Systemd{Runner: systemd}).Alive(context.Background(), "op"), want, state)
	}
}
