package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes of the picture.
const (
	width, left, right = 960, 70, 20
	top, height, gap   = 72, 110, 46
	// events are above the first panel's title.
	events = top - 26
)

// panel is curves over one axis.
type panel struct {
	title string
	// limit is drawn as a line where it is not 0.
	limit  float64
	named  string
	curves []curve
}

type curve struct {
	name, color string
	of          func(sample) float64
}

const (
	blue, green, red, orange = "#0969da", "#1a7f37", "#cf222e", "#9a6700"
	grey                     = "#57606a"
)

func panels(m measurements) []panel {
	return []panel{
		{"plugin's resident memory, MiB", 200, "goal 200", []curve{
			{"", blue, func(s sample) float64 { return s.Memory }},
		}},
		{"requests a second, of the plugin", 0, "", []curve{
			{"virtual cluster", blue, func(s sample) float64 { return s.Cluster }},
			{"host cluster", orange, func(s sample) float64 { return s.Host }},
		}},
		{"objects, KB", 1048, "1 MiB", []curve{
			{"Workflow", blue, func(s sample) float64 { return s.Workflow }},
			{"WorkflowTaskSet", orange, func(s sample) float64 { return s.TaskSet }},
		}},
		{"nodes", 0, "", []curve{
			{"all", grey, func(s sample) float64 { return s.Nodes }},
			{"at the new version", green, func(s sample) float64 { return s.Upgraded }},
		}},
		{"nodes out of service", math.Floor(float64(m.Machines) * 0.05), "allowed in the upgrade", []curve{
			{"", red, func(s sample) float64 { return s.Out }},
		}},
	}
}

// draw returns the picture.
func draw(m measurements) string {
	all := panels(m)
	total := top + len(all)*(height+gap)
	end := 1.0
	for _, s := range m.Samples {
		end = max(end, s.Seconds)
	}
	var b strings.Builder
	printf := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" `+
		`font-size="13">`, width, total)
	printf(`  <rect width="%d" height="%d" fill="#fff"/>`, width, total)
	printf(`  <text x="%d" y="24" font-size="15" font-weight="600" fill="#24292f">%d simulated machines, %d pods: `+
		`join and upgrade</text>`, left, m.Machines, m.Pods)
	for i, one := range all {
		one.draw(printf, m.Samples, frame{y: top + i*(height+gap), end: end})
	}
	x := frame{end: end}
	for i, event := range m.Events {
		printf(`  <line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s" stroke-dasharray="2 4"/>`, x.x(event.Seconds),
			x.x(event.Seconds), events+4, total-gap, grey)
		printf(`  <text x="%.1f" y="%d" font-size="11" fill="%s">%d<title>%s</title></text>`, x.x(event.Seconds)+2,
			events, grey, i+1, html.EscapeString(event.Name))
	}
	printf(`</svg>`)
	return b.String()
}

// frame is where a panel is, and the length of the run in seconds.
type frame struct {
	y   int
	end float64
}

func (f frame) x(seconds float64) float64 { return left + seconds/f.end*(width-left-right) }

func (p panel) draw(printf func(string, ...any), samples []sample, f frame) {
	most := p.limit
	for _, s := range samples {
		for _, c := range p.curves {
			most = max(most, c.of(s))
		}
	}
	most = round(most)
	y := func(value float64) float64 { return float64(f.y+height) - value/most*height }
	printf(`  <text x="%d" y="%d" fill="#24292f">%s</text>`, left, f.y-6, html.EscapeString(p.title))
	for _, value := range []float64{0, most / 2, most} {
		printf(`  <line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#d0d7de"/>`, left, width-right, y(value),
			y(value))
		printf(`  <text x="%d" y="%.1f" text-anchor="end" fill="%s">%g</text>`, left-8, y(value)+4, grey, value)
	}
	for minute := 0.0; minute*60 <= f.end; minute += step(f.end / 60) {
		printf(`  <text x="%.1f" y="%d" text-anchor="middle" font-size="11" fill="%s">%g min</text>`, f.x(minute*60),
			f.y+height+14, grey, minute)
	}
	if p.limit > 0 {
		printf(`  <line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s" stroke-dasharray="6 4"/>`, left, width-right,
			y(p.limit), y(p.limit), red)
		printf(`  <text x="%d" y="%.1f" text-anchor="end" font-size="11" fill="%s">%s</text>`, width-right,
			y(p.limit)-3, red, html.EscapeString(p.named))
	}
	at := width - right
	for _, c := range p.curves {
		printf(`  <polyline fill="none" stroke="%s" stroke-width="1.5" points="%s"/>`, c.color,
			points(samples, c, f, y))
		if c.name != "" {
			printf(`  <text x="%d" y="%d" text-anchor="end" fill="%s">%s</text>`, at, f.y-6, c.color, c.name)
			at -= 150
		}
	}
}

func points(samples []sample, c curve, f frame, y func(float64) float64) string {
	var all []string
	for _, s := range samples {
		all = append(all, fmt.Sprintf("%.1f,%.1f", f.x(s.Seconds), y(c.of(s))))
	}
	return strings.Join(all, " ")
}

// round returns the next number of 1, 2, 5, 10, 20, … that is not smaller.
func round(value float64) float64 {
	for of := 1.0; ; of *= 10 {
		for _, next := range []float64{1, 1.5, 2, 3, 5, 8} {
			if next*of >= value {
				return next * of
			}
		}
	}
}

// step is how many minutes lie between two marks.
func step(minutes float64) float64 { return max(1, round(minutes/8)) }
