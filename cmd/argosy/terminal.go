package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/operation"
)

// terminal shows the progress of machines. Where it writes to a terminal, that is a live table, with a line above it
// for each machine that has ended. Elsewhere it prints one line at each new phase of a machine, and every few seconds
// of a long one, so that a log stays readable with fifty machines.
type terminal struct {
	out     io.Writer
	started time.Time
	mu      sync.Mutex
	last    map[string]shown
	// live is nil where out is no terminal.
	live *liveTable
}

type shown struct {
	phase string
	at    time.Time
}

// progressEvery is the time between two lines about the same phase.
const progressEvery = 5 * time.Second

func newTerminal(out io.Writer) *terminal {
	return &terminal{out: out, started: time.Now(), last: map[string]shown{}, live: liveTableOn(out)}
}

// of returns the progress of a machine.
func (t *terminal) of(machine string) operation.Progress {
	return operation.ProgressFunc(func(event operation.Event) {
		if t.live != nil {
			t.live.report(machine, event)
			return
		}
		t.show(machine, cmp.Or(event.Phase, event.Detail), event.String())
	})
}

// planning returns the progress of a plan, which is one phase.
func (t *terminal) planning() operation.Progress {
	return operation.ProgressFunc(func(event operation.Event) {
		event.Phase = planPhase
		t.show(planPhase, planPhase, event.String())
	})
}

// progress shows a line that begins with its phase in brackets.
func (t *terminal) progress(name, text string) {
	phase, _, _ := strings.Cut(text, "]")
	t.show(name, phase, text)
}

func (t *terminal) show(machine, phase, text string) {
	t.mu.Lock()
	last := t.last[machine]
	quiet := last.phase == phase && time.Since(last.at) < progressEvery
	if !quiet {
		t.last[machine] = shown{phase, time.Now()}
	}
	t.mu.Unlock()
	if !quiet {
		t.line(machine, text)
	}
}

// line prints a line that stays. Its machine has ended, and leaves the live table.
func (t *terminal) line(machine, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := fmt.Sprintf("%6.1fs  %-12s %s\n", time.Since(t.started).Seconds(), machine, text)
	if t.live != nil {
		t.live.end(machine, line)
		return
	}
	_, _ = io.WriteString(t.out, line)
}
