package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mattn/go-runewidth"
	"gotest.tools/v3/assert"

	"argosy.dev/argosy/pkg/operation"
)

// screen is a terminal that understands the sequences of a live table, and no others.
type screen struct {
	t     *testing.T
	lines []string
	// row of the cursor, which stands at the beginning of a line after each write.
	row int
}

var sequence = regexp.MustCompile(`^\x1b\[([0-9]*)([A-Za-z])`)

func (s *screen) Write(text []byte) (int, error) {
	for rest := string(text); rest != ""; {
		if found := sequence.FindStringSubmatch(rest); found != nil {
			rest = rest[len(found[0]):]
			switch found[2] {
			case "A":
				up, err := strconv.Atoi(found[1])
				assert.NilError(s.t, err)
				assert.Assert(s.t, up <= s.row, "the cursor leaves the screen")
				s.row -= up
			case "J":
				s.lines = s.lines[:s.row]
			case "m": // a color
			default:
				s.t.Fatalf("unknown sequence %q", found[0])
			}
			continue
		}
		switch rest[0] {
		case '\r':
		case '\n':
			s.row++
		default:
			end := strings.IndexAny(rest, "\r\n\x1b")
			assert.Assert(s.t, end >= 0, "a line has no end: %q", rest)
			for len(s.lines) <= s.row {
				s.lines = append(s.lines, "")
			}
			s.lines[s.row] += rest[:end]
			rest = rest[end:]
			continue
		}
		rest = rest[1:]
	}
	return len(text), nil
}

// on returns a terminal with a live table on a screen of a size.
func on(t *testing.T, color bool, width, height int) (*terminal, *screen) {
	t.Helper()
	s := &screen{t: t}
	shows := newTerminal(s)
	assert.Assert(t, shows.live == nil, "a screen of a test is no terminal")
	shows.live = newLiveTable(s, color, func() (int, int) { return width, height })
	return shows, s
}

// atWork are events as machines report them.
var atWork = map[string]operation.Event{
	"gpu-1": {
		Phase: "bundle", Index: 2, Phases: 11, Unit: operation.Bytes, Done: 214e6, Total: 428e6, Rate: 96e6,
	},
	"m2": {Phase: "containerd", Index: 5, Phases: 11, Detail: "starting containerd", Elapsed: 12 * time.Second},
	"m3": {Detail: "waiting for its turn: 2 machines at work"},
}

func TestALiveTableShowsPhaseBarBytesAndRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shows, s := on(t, false, 100, 24)
		for _, name := range []string{"gpu-1", "m2", "m3"} {
			shows.of(name).Report(atWork[name])
			time.Sleep(redrawEvery)
		}
		assert.DeepEqual(t, s.lines, []string{
			"gpu-1  2/11 bundle      [==========          ]  214 of 428 MB, 96 MB/s",
			"m2     5/11 containerd  [=======             ]  starting containerd · 12s",
			"m3                                              waiting for its turn: 2 machines at work",
		})
		shows.line("m2", "node m2 is Ready")
		assert.Equal(t, len(s.lines), 3)
		assert.Assert(t, strings.HasSuffix(s.lines[0], "m2           node m2 is Ready"), s.lines[0])
		assert.Assert(t, strings.HasPrefix(s.lines[1], "gpu-1  2/11 bundle  ["), s.lines[1])
		shows.line("gpu-1", "failed")
		shows.line("m3", "node m3 is Ready")
		assert.Equal(t, len(s.lines), 3, "only the lines of machines that ended are left: %q", s.lines)
	})
}

// Events come faster than a terminal shows them, and the last one is shown.
func TestALiveTableIsDrawnNoMoreThanTenTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		table := newLiveTable(&out, false, func() (int, int) { return 80, 24 })
		for done := range int64(1000) {
			event := atWork["gpu-1"]
			event.Done = done * 428e3
			table.report("gpu-1", event)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(redrawEvery)
		synctest.Wait()
		drawn := strings.Count(out.String(), "\n")
		assert.Assert(t, drawn >= 10 && drawn <= 12, drawn)
		assert.Assert(t, strings.HasSuffix(out.String(), "  427 of 428 MB, 96 MB/s\n"), out.String())
	})
}

func TestStepsOfAControlPlaneAreRowsOfALiveTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shows, s := on(t, false, 90, 24)
		var validating, waiting []string
		err := shows.run([]step{
			{"validate", func(func(string)) (fmt.Stringer, error) {
				time.Sleep(redrawEvery)
				synctest.Wait()
				validating = slices.Clone(s.lines)
				return text("documents are valid"), nil
			}},
			{"control-plane", func(report func(string)) (fmt.Stringer, error) {
				report("[3/4 pods] waiting for pod team-b-0")
				time.Sleep(redrawEvery)
				synctest.Wait()
				waiting = slices.Clone(s.lines)
				return nil, errors.New("pod team-b-0 is not ready")
			}},
			{"addons", nil},
		})
		assert.Error(t, err, "pod team-b-0 is not ready")
		assert.DeepEqual(t, validating, []string{
			"validate                                 at work",
			"control-plane                            to come",
			"addons                                   to come",
		})
		assert.DeepEqual(t, waiting, []string{
			"   0.1s  validate     documents are valid",
			"control-plane  3/4 pods  [==========          ]  waiting for pod team-b-0",
			"addons                                           to come",
		})
		assert.DeepEqual(t, s.lines, []string{
			"   0.1s  validate     documents are valid",
			"   0.2s  control-plane [3/4 pods] waiting for pod team-b-0",
		})
	})
}

func TestAPlanIsARowUntilItIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shows, s := on(t, false, 70, 24)
		var meanwhile []string
		made, err := planWith(shows, func(progress operation.Progress) (string, error) {
			progress.Report(operation.Event{
				Done: 3, Total: 12, Unit: operation.Machines, Detail: "inspected 3 of 12 machines",
			})
			time.Sleep(redrawEvery)
			synctest.Wait()
			meanwhile = slices.Clone(s.lines)
			return "plan", nil
		})
		assert.NilError(t, err)
		assert.Equal(t, made, "plan")
		assert.DeepEqual(t, meanwhile, []string{"plan    [=====               ]  inspected 3 of 12 machines"})
		assert.Equal(t, len(s.lines), 0, "%q", s.lines)
	})
}

func TestATextOfProgressIsTheEventThatItShows(t *testing.T) {
	for _, text := range []string{
		"[3/4 pods] waiting for pod team-b-0", "[2/4 final backup] reading", "[5/5 control plane] [1/4 keys] signing",
		"asking the host cluster for permissions", "[x] y", "[1/4] z", "", "[1/4 keys] two\nlines",
	} {
		assert.Equal(t, eventOf(text).String(), text)
	}
	assert.DeepEqual(t, eventOf("[2/4 final backup] reading"),
		operation.Event{Index: 2, Phases: 4, Phase: "final backup", Detail: "reading"})
}

func TestALiveTableFitsItsTerminal(t *testing.T) {
	colors := regexp.MustCompile(`\x1b\[[0-9]*m`)
	for _, width := range []int{1, 2, 10, 30, 40, 80, 200} {
		for _, height := range []int{1, 4, 24} {
			table := newLiveTable(&bytes.Buffer{}, true, func() (int, int) { return width, height })
			for name, event := range atWork {
				event.Detail += "界 two\nlines \x1b[2J and a sequence"
				table.names, table.events[name] = append(table.names, name), event
			}
			lines := table.frame()
			assert.Assert(t, len(lines) < max(height, 3), "%d lines at height %d", len(lines), height)
			for _, line := range lines {
				plain := colors.ReplaceAllString(line, "")
				assert.Assert(t, runewidth.StringWidth(plain) < max(width, 2), "%d: %q", width, line)
				assert.Assert(t, !strings.ContainsAny(plain, "\x1b\n"), "%q", line)
			}
		}
	}
	table := newLiveTable(&bytes.Buffer{}, true, func() (int, int) { return 80, 5 })
	for _, name := range []string{"m1", "m2", "m3", "m4"} {
		table.report(name, atWork["m2"])
	}
	assert.Equal(t, table.frame()[2], "and 2 more")
}

func TestColorsAreOnlyWhereTheyAreWanted(t *testing.T) {
	for _, color := range []bool{true, false} {
		table := newLiveTable(&bytes.Buffer{}, color, func() (int, int) { return 80, 24 })
		table.report("gpu-1", atWork["gpu-1"])
		assert.Equal(t, strings.Contains(strings.Join(table.frame(), "\n"), "\x1b["), color)
	}
	t.Setenv(noColor, "")
	_, _, err := run(t, "config", "show", "--defaults")
	assert.NilError(t, err)
	assert.Equal(t, os.Getenv(noColor), "")
	_, _, err = run(t, "config", "show", "--defaults", "--no-color")
	assert.NilError(t, err)
	assert.Equal(t, os.Getenv(noColor), "1", "the flag is the variable")
}

func TestNoTableIsDrawnIntoAPipe(t *testing.T) {
	reader, writer, err := os.Pipe()
	assert.NilError(t, err)
	defer func() { _, _ = reader.Close(), writer.Close() }()
	assert.Assert(t, newTerminal(writer).live == nil)
	assert.Assert(t, newTerminal(&bytes.Buffer{}).live == nil)
}
