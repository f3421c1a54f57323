package report

import (
	"cmp"
	"crypto/sha256"
	_ "embed" // the page's style
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"argosy.dev/argosy/internal/count"
)

//go:embed page.css
var pageStyle string

// policy is the Content-Security-Policy of the page: no script, and no request for anything.
func policy() string {
	digest := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; base-uri 'none'; form-action 'none'"
}

// Bounds of a page, so that one of a thousand machines opens at once.
const (
	// maxFailures are shown in full; the others are in the table of machines.
	maxFailures = 40
	// maxCell bounds a text in a table, in bytes.
	maxCell = 400
	// maxLongest is how many of a machine's phases the table names, the longest first.
	maxLongest = 4
)

// page holds the content of the document.
type page struct {
	Title, Result, Tone, Sentence string
	Facts                         []fact
	Notes                         []string
	Failures                      []failureView
	MoreFailures                  string
	chart
	Phases   []phaseView
	Machines []machineView
	Steps    []stepView
}

type fact struct{ Name, Value string }

type failureView struct {
	Name, Phase, Message, Hint, Command, Tail string
	Problems                                  []string
}

type phaseView struct {
	Name, Median, Longest, Slowest string
	Machines                       int
}

type machineView struct {
	Name, Result, Version, Took, Changes, Phases string
	Failed                                       bool
}

type stepView struct {
	Name, Result, Began, Took, Message string
	Failed                             bool
}

// HTML writes the report as one page that needs no other file and asks no server.
func (r *Report) HTML(out io.Writer) error {
	failures, more := r.failures()
	p := page{
		Title: r.title(), Result: r.Result, Tone: tone(r.Result), Sentence: r.sentence(), Facts: r.facts(),
		Notes:    r.Notes,
		Failures: failures, MoreFailures: more, chart: r.chart(), Phases: r.phaseViews(), Machines: r.machineViews(),
		Steps: r.stepViews(),
	}
	if err := p.document().Render(out); err != nil {
		return fmt.Errorf("writing the page of workflow %q: %w", r.Workflow, err)
	}
	return nil
}

func (r *Report) title() string {
	title := cmp.Or(r.Operation, "workflow") + " " + r.Workflow
	if r.Cluster != "" {
		title += " · cluster " + r.Cluster
	}
	return title
}

func tone(result string) string {
	switch {
	case failed(result):
		return "bad"
	case result == "Succeeded":
		return "good"
	}
	return "soft"
}

// sentence tells how many machines ended how.
func (r *Report) sentence() string {
	if len(r.Machines) == 0 {
		return "no machine was worked on"
	}
	bad := 0
	for _, m := range r.Machines {
		if m.Failed() {
			bad++
		}
	}
	text := count.Of(len(r.Machines), "machine")
	if bad > 0 {
		text += fmt.Sprintf(", %d failed", bad)
	}
	return text
}

func (r *Report) facts() []fact {
	facts := []fact{
		{"Started", stamp(r.Started)},
		{"Ended", stamp(r.Ended)},
		{"Took", clock(r.Seconds())},
		{"Namespace", r.Namespace},
	}
	if versions := r.versions(); versions != "" {
		facts = append(facts, fact{"Versions", versions})
	}
	return facts
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04:05 UTC") }

// versions counts the machines of each pair of versions: "v1.34.4 → v1.35.8 on 3 machines".
func (r *Report) versions() string {
	machines := map[string]int{}
	for _, m := range r.Machines {
		if version := m.versions(); version != "" {
			machines[version]++
		}
	}
	var lines []string
	for version, number := range machines {
		lines = append(lines, version+" on "+count.Of(number, "machine"))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

// versions are those before and after the run, as far as they are known.
func (m Machine) versions() string {
	switch {
	case m.From == "" || m.From == m.Version:
		return m.Version
	case m.Version == "":
		return m.From
	}
	return m.From + " → " + m.Version
}

// clock returns a duration for people: "12.3 s", "4 min 5 s", "1 h 2 min".
func clock(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// failures returns the machines and steps that failed, as many as a page shows, and how many more there are.
func (r *Report) failures() (views []failureView, more string) {
	for _, m := range r.Machines {
		if m.Failed() {
			views = append(views, m.failureView())
		}
	}
	for _, s := range r.Steps {
		if failed(s.Result) {
			views = append(views, failureView{Name: s.Name, Message: s.Message})
		}
	}
	if over := len(views) - maxFailures; over > 0 {
		views, more = views[:maxFailures], fmt.Sprintf("%d more failed; the table of machines names them", over)
	}
	return views, more
}

func (m Machine) failureView() failureView {
	failure := m.Failure
	if failure == nil {
		first, rest, _ := strings.Cut(m.Message, "\n")
		return failureView{Name: m.Name, Message: first, Tail: rest}
	}
	return failureView{
		Name: m.Name, Phase: failure.Phase, Message: failure.Message, Hint: failure.Hint, Command: failure.Command,
		Tail: strings.Join(failure.Tail, "\n"), Problems: failure.Problems,
	}
}

// phaseViews sums the phases of all machines.
func (r *Report) phaseViews() []phaseView {
	var views []phaseView
	for _, name := range r.phaseNames() {
		var all []float64
		longest, slowest := -1.0, ""
		for _, m := range r.Machines {
			total, ran := 0.0, false
			for _, phase := range m.Phases {
				if phase.Name == name {
					total, ran = total+phase.Seconds, true
				}
			}
			if !ran {
				continue
			}
			all = append(all, total)
			if total > longest {
				longest, slowest = total, m.Name
			}
		}
		slices.Sort(all)
		views = append(views, phaseView{
			Name: name, Machines: len(all), Median: clock(all[len(all)/2]), Longest: clock(longest), Slowest: slowest,
		})
	}
	return views
}

// phaseNames are those of all phases, in the order in which they first stand in a machine's list.
func (r *Report) phaseNames() []string {
	var names []string
	seen := map[string]bool{}
	for _, m := range r.Machines {
		for _, phase := range m.Phases {
			if !seen[phase.Name] {
				seen[phase.Name] = true
				names = append(names, phase.Name)
			}
		}
	}
	return names
}

func (r *Report) machineViews() []machineView {
	sorted := slices.Clone(r.Machines)
	slices.SortStableFunc(sorted, func(a, b Machine) int {
		switch {
		case a.Failed() == b.Failed():
			return cmp.Compare(a.Name, b.Name)
		case a.Failed():
			return -1
		}
		return 1
	})
	views := make([]machineView, 0, len(sorted))
	for _, m := range sorted {
		views = append(views, machineView{
			Name: m.Name, Result: m.result(), Failed: m.Failed(), Version: m.versions(), Took: clock(m.Seconds),
			Changes: m.changes(), Phases: m.longest(),
		})
	}
	return views
}

func (m Machine) result() string {
	text := m.Result
	if m.Attempts > 1 {
		text += fmt.Sprintf(" after %d attempts", m.Attempts)
	}
	if m.RolledBack {
		text += ", rolled back"
	}
	return text
}

func (m Machine) changes() string {
	switch {
	case m.Failed() && m.Failure != nil:
		return cut(m.Failure.Phase+": "+m.Failure.Message, maxCell)
	case m.Failed():
		first, _, _ := strings.Cut(m.Message, "\n")
		return cut(first, maxCell)
	case len(m.Done) > 0:
		return cut(strings.Join(m.Done, ", "), maxCell)
	case m.Changed:
		return cut(m.Message, maxCell)
	}
	return "no changes needed"
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// longest names the phases of a machine that took longest.
func (m Machine) longest() string {
	sorted := slices.Clone(m.Phases)
	slices.SortStableFunc(sorted, func(a, b Phase) int { return cmp.Compare(b.Seconds, a.Seconds) })
	var texts []string
	for _, phase := range sorted[:min(len(sorted), maxLongest)] {
		texts = append(texts, phase.Name+" "+clock(phase.Seconds))
	}
	return strings.Join(texts, ", ")
}

func (r *Report) stepViews() []stepView {
	views := make([]stepView, 0, len(r.Steps))
	for _, s := range r.Steps {
		views = append(views, stepView{
			Name: s.Name, Result: s.Result, Began: clock(s.Start), Took: clock(s.Seconds),
			Message: cut(s.Message, maxCell), Failed: failed(s.Result),
		})
	}
	return views
}
