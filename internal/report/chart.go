package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"argosy.dev/argosy/internal/count"
)

// chart is the timeline as a picture: a row for each machine, and a path for each phase with the bars of all machines,
// which keeps a page of a thousand machines small.
type chart struct {
	ChartNote, Alternative string
	Ticks                  []string
	Rows                   []row
	Dense                  bool
	Width, Height          int
	Paths                  []path
	Legend                 []path
}

type row struct {
	Name   string
	Failed bool
}

// path holds the bars of one phase, as data of an SVG path.
type path struct{ Class, Name, Data string }

const (
	// chartWidth is the width in the picture's own units, which are stretched to that of the page.
	chartWidth = 4000
	// rowHeight and denseHeight are those of a row in pixels; page.css has the same ones.
	rowHeight, denseHeight = 22, 12
	// denseRows is from how many rows on they are dense.
	denseRows = 60
	// coloured phases have a colour each, and classes p1 to p9; p0 is of waits, p10 of the other phases.
	coloured = 9
)

// classes returns the class of each phase by its name: those that took longest in all have colours.
func (r *Report) classes() map[string]string {
	total := map[string]float64{}
	for _, m := range r.Machines {
		for _, phase := range m.Phases {
			total[phase.Name] += phase.Seconds
		}
	}
	names := r.phaseNames()
	byTime := slices.DeleteFunc(slices.Clone(names), waits)
	slices.SortStableFunc(byTime, func(a, b string) int { return cmp.Compare(total[b], total[a]) })
	long := map[string]bool{}
	for _, name := range byTime[:min(len(byTime), coloured)] {
		long[name] = true
	}
	classes, next := map[string]string{}, 1
	for _, name := range names {
		switch {
		case waits(name):
			classes[name] = "p0"
		case long[name]:
			classes[name] = "p" + strconv.Itoa(next)
			next++
		default:
			classes[name] = "p10"
		}
	}
	return classes
}

// waits reports whether the machine waits in the phase, for its turn or for the next attempt.
func waits(phase string) bool { return phase == "wait" || phase == "retry" }

func (r *Report) chart() chart {
	c := chart{Width: chartWidth, Dense: len(r.Machines) > denseRows}
	if len(r.Machines) == 0 {
		return c
	}
	height := rowHeight
	if c.Dense {
		height = denseHeight
	}
	c.Height = height * len(r.Machines)
	step, ticks := axis(r.Seconds())
	for i := range ticks {
		c.Ticks = append(c.Ticks, tick(float64(i)*step))
	}
	d := drawing{height: height, scale: chartWidth / (step * float64(ticks)), data: map[string]*strings.Builder{}}
	classes := r.classes()
	for i, m := range r.Machines {
		c.Rows = append(c.Rows, row{m.Name, m.Failed()})
		for _, phase := range m.Phases {
			d.bar(classes[phase.Name], i, phase.Start, phase.Seconds)
		}
		if m.Failed() {
			d.end(i, m.Start+m.Seconds)
		}
	}
	c.Legend = r.legend(classes)
	for _, entry := range append(c.Legend, path{Class: "end", Name: "failed here"}) {
		if data := d.data[entry.Class]; data != nil {
			entry.Data = data.String()
			c.Paths = append(c.Paths, entry)
		}
	}
	if d.data["end"] != nil {
		c.Legend = append(c.Legend, path{Class: "end", Name: "failed here"})
	}
	c.ChartNote = "A row for each machine in the order in which they began; time runs from left to right, from " +
		stamp(r.Started) + "."
	c.Alternative = fmt.Sprintf("Timeline of %s by phase over %s. The tables below hold the same figures.",
		count.Of(len(r.Machines), "machine"), clock(r.Seconds()))
	return c
}

// legend has one entry for each class, in the order of the phases.
func (r *Report) legend(classes map[string]string) []path {
	names := map[string][]string{}
	var order []string
	for _, name := range r.phaseNames() {
		class := classes[name]
		if names[class] == nil {
			order = append(order, class)
		}
		names[class] = append(names[class], name)
	}
	var legend []path
	for _, class := range order {
		legend = append(legend, path{Class: class, Name: strings.Join(names[class], ", ")})
	}
	return legend
}

type drawing struct {
	height int
	// scale is in units a second.
	scale float64
	data  map[string]*strings.Builder
}

// bar draws a phase of the machine in a row. A shorter one than a unit is a unit wide.
func (d drawing) bar(class string, row int, start, seconds float64) {
	left, right := int(start*d.scale), int((start+seconds)*d.scale)
	d.rectangle(class, left, row, max(right-left, 1))
}

// endWidth is the width of the mark at the end of a machine that failed.
const endWidth = chartWidth / 200

func (d drawing) end(row int, at float64) {
	d.rectangle("end", min(int(at*d.scale), chartWidth-endWidth), row, endWidth)
}

func (d drawing) rectangle(class string, left, row, width int) {
	if d.data[class] == nil {
		d.data[class] = &strings.Builder{}
	}
	gap := d.height / 8
	_, _ = fmt.Fprintf(d.data[class], "M%d %dh%dv%dh-%dz", left, row*d.height+gap, width, d.height-2*gap, width)
}

// axis returns the distance of ticks in seconds, and how many cells of that length cover all of them.
func axis(total float64) (step float64, cells int) {
	const most = 6
	for _, step := range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200} {
		if total <= step*most {
			return step, max(int(total/step)+1, 1)
		}
	}
	days := float64(int(total/(most*86400)) + 1)
	return days * 86400, int(total/(days*86400)) + 1
}

// tick is the label of a time after the start: "0", "30 s", "2 min", "1 h 30".
func tick(s float64) string {
	switch whole := int(s); {
	case whole == 0:
		return "0"
	case whole < 60 || whole < 600 && whole%60 != 0:
		return strconv.Itoa(whole) + " s"
	case whole < 3600:
		return strconv.Itoa(whole/60) + " min"
	case whole%3600 == 0:
		return strconv.Itoa(whole/3600) + " h"
	default:
		return fmt.Sprintf("%d h %02d", whole/3600, whole%3600/60)
	}
}
