package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"

	"argosy.dev/argosy/pkg/operation"
)

// liveTable is a table of the machines or steps at work, at the bottom of a terminal, that is drawn anew as they
// report: phase, bar, bytes and rate. It moves the cursor and erases below it, as every terminal since the VT100
// understands.
type liveTable struct {
	out  io.Writer
	size func() (width, height int)
	// color is false under NO_COLOR and --no-color.
	color bool

	mu     sync.Mutex
	names  []string // in the order in which the machines began
	events map[string]operation.Event
	// drawn is how many lines of the terminal the table takes, and at when it was drawn.
	drawn int
	at    time.Time
	// later draws the latest reports; nil where there are none.
	later *time.Timer
}

// redrawEvery is the time between two drawings; a terminal over SSH shows no more.
const redrawEvery = 100 * time.Millisecond

// noColor is the environment variable that turns colors off; see https://no-color.org.
const noColor = "NO_COLOR"

// liveTableOn returns a live table where out is a terminal that can move its cursor; nil elsewhere.
func liveTableOn(out io.Writer) *liveTable {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return newLiveTable(out, os.Getenv(noColor) == "", func() (width, height int) {
		width, height, err := term.GetSize(int(file.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			return 80, 24
		}
		return width, height
	})
}

func newLiveTable(out io.Writer, color bool, size func() (width, height int)) *liveTable {
	return &liveTable{out: out, size: size, color: color, events: map[string]operation.Event{}}
}

// report takes the newest event of a machine, and draws it now or a moment later.
func (t *liveTable) report(machine string, event operation.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.events[machine]; !known {
		t.names = append(t.names, machine)
	}
	t.events[machine] = event
	switch wait := redrawEvery - time.Since(t.at); {
	case wait <= 0:
		t.draw("")
	case t.later == nil:
		t.later = time.AfterFunc(wait, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.later != nil {
				t.draw("")
			}
		})
	}
}

// row shows a text in place of progress. It does nothing where there is no table.
func (t *liveTable) row(name, text string) {
	if t != nil {
		t.report(name, operation.Event{Detail: text})
	}
}

// end takes a machine out of the table, and prints a line above it.
func (t *liveTable) end(machine, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.events, machine)
	t.names = slices.DeleteFunc(t.names, func(name string) bool { return name == machine })
	t.draw(line)
}

// rows returns the names of the machines in the table.
func (t *liveTable) rows() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.names)
}

// last returns the newest event of a machine.
func (t *liveTable) last(machine string) operation.Event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.events[machine]
}

// draw replaces the table by above and the table as it is now; the caller holds the lock. All is one write, so that no
// terminal shows half of it.
func (t *liveTable) draw(above string) {
	if t.later != nil {
		t.later.Stop()
		t.later = nil
	}
	var text strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&text, "\x1b[%dA\r\x1b[J", t.drawn)
	}
	text.WriteString(above)
	lines := t.frame()
	for _, line := range lines {
		text.WriteString(line + "\n")
	}
	t.drawn, t.at = len(lines), time.Now()
	_, _ = io.WriteString(t.out, text.String())
}

// barWidth is that of a bar, in cells.
const barWidth = 20

// frame returns the lines of the table, none wider than the terminal and fewer than it is high. Machines that do not
// fit are counted.
func (t *liveTable) frame() []string {
	width, height := t.size()
	shown := t.names
	if room := max(height-3, 1); len(shown) > room {
		shown = shown[:room]
	}
	nameWidth, phaseWidth := 0, 0
	for _, name := range shown {
		nameWidth = max(nameWidth, runewidth.StringWidth(name))
		phaseWidth = max(phaseWidth, runewidth.StringWidth(phaseOf(t.events[name])))
	}
	lines := make([]string, 0, len(shown)+1)
	for _, name := range shown {
		event := t.events[name]
		before := runewidth.FillRight(name, nameWidth) + "  " + runewidth.FillRight(phaseOf(event), phaseWidth) + "  "
		lines = append(lines, t.fitted(before, barOf(event), "  "+told(event), width-1))
	}
	if more := len(t.names) - len(shown); more > 0 {
		lines = append(lines, runewidth.Truncate(fmt.Sprintf("and %d more", more), width-1, ""))
	}
	return lines
}

// fitted returns a line of at most width cells, with the bar in color where it fits.
func (t *liveTable) fitted(before, bar, after string, width int) string {
	room := width - runewidth.StringWidth(before) - runewidth.StringWidth(bar)
	if room < 0 {
		return runewidth.Truncate(before+bar, max(width, 0), "…")
	}
	if t.color {
		bar = "\x1b[32m" + bar + "\x1b[0m"
	}
	return before + bar + runewidth.Truncate(after, room, "…")
}

// phaseOf returns the phase of an event as its text begins: "5/11 containerd".
func phaseOf(event operation.Event) string {
	if event.Index == 0 {
		return event.Phase
	}
	return fmt.Sprintf("%d/%d %s", event.Index, event.Phases, event.Phase)
}

// barOf returns a bar of how far the bytes or machines of an event have come, or the phases before it; blank where
// nothing is counted.
func barOf(event operation.Event) string {
	done, total := event.Done, event.Total
	if event.Unit == operation.Pods || event.Unit == "" || total <= 0 {
		done, total = int64(event.Index-1), int64(event.Phases)
	}
	if total <= 0 {
		return strings.Repeat(" ", barWidth+len("[]"))
	}
	filled := int(min(max(done, 0), total) * barWidth / total)
	return "[" + strings.Repeat("=", filled) + strings.Repeat(" ", barWidth-filled) + "]"
}

// told returns the text of an event behind its phase, in one line without control characters: machines wrote parts of
// it.
func told(event operation.Event) string {
	event.Phase, event.Index, event.Phases = "", 0, 0
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, event.String())
}
