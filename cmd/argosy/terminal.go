package main

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"argosy.dev/argosy/pkg/operation"
)

// terminal shows the progress of machines, and of the steps of a control plane. Where it writes to a terminal, that is
// a live table, with a line above it for each machine that has ended. Elsewhere it prints one line at each new phase of
// a machine, and every few seconds of a long one, so that a log stays readable with fifty machines.
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

// planWith makes a plan, which is one phase. Its row of the live table is gone when it is made.
func planWith[Plan any](t *terminal, plan func(operation.Progress) (Plan, error)) (Plan, error) {
	if t.live != nil {
		defer t.live.end(planPhase, "")
		return plan(operation.ProgressFunc(func(event operation.Event) { t.live.report(planPhase, event) }))
	}
	return plan(operation.ProgressFunc(func(event operation.Event) {
		event.Phase = planPhase
		t.show(planPhase, planPhase, event.String())
	}))
}

// planOn is planWith where out is a terminal; elsewhere no progress is shown.
func planOn[Plan any](out io.Writer, plan func(operation.Progress) (Plan, error)) (Plan, error) {
	if t := newTerminal(out); t.live != nil {
		return planWith(t, plan)
	}
	return plan(operation.NoProgress{})
}

// progress shows a text that begins with its phase in brackets.
func (t *terminal) progress(name, text string) {
	if t.live != nil {
		t.live.report(name, eventOf(text))
		return
	}
	phase, _, _ := strings.Cut(text, "]")
	t.show(name, phase, text)
}

// stop ends the live table where a step failed. The step's last progress stays as a line.
func (t *terminal) stop(failed string) {
	if t.live == nil {
		return
	}
	for _, name := range t.live.rows() {
		if last := t.live.last(name); name == failed {
			t.line(name, last.String())
			continue
		}
		t.live.end(name, "")
	}
}

var phaseInBrackets = regexp.MustCompile(`(?s)^\[([0-9]{1,3})/([0-9]{1,3}) ([^]]+)\] (.*)$`)

// eventOf returns the event of a text of progress. It undoes Event.String as far as that begins with a phase that is
// counted; any other text is the detail.
//
//	[3/4 pods] waiting for pod team-b-0
func eventOf(text string) operation.Event {
	found := phaseInBrackets.FindStringSubmatch(text)
	if found == nil {
		return operation.Event{Detail: text}
	}
	index, _ := strconv.Atoi(found[1]) // both have digits alone, and few
	phases, _ := strconv.Atoi(found[2])
	return operation.Event{Index: index, Phases: phases, Phase: found[3], Detail: found[4]}
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
