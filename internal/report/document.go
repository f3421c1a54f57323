package report

import (
	"fmt"
	"strconv"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// document is the page in HTML. It is built of functions: a template looks methods up by name, which makes the linker
// keep every method of every type of Kubernetes' clients, 20 MB of the plugin.
func (p page) document() g.Node {
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(g.Attr("http-equiv", "Content-Security-Policy"), h.Content(policy())),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.Meta(h.Name("color-scheme"), h.Content("light dark")),
			h.TitleEl(g.Text(p.Title)),
			h.StyleEl(g.Raw(pageStyle)),
		),
		h.Body(
			h.Header(
				h.H1(g.Text(p.Title)),
				h.P(h.Span(h.Class(p.Tone), g.Text(p.Result)), g.Text(" · "+p.Sentence)),
				h.Dl(g.Map(p.Facts, func(f fact) g.Node { return h.Div(h.Dt(g.Text(f.Name)), h.Dd(g.Text(f.Value))) })),
				g.Map(p.Notes, func(note string) g.Node { return h.P(h.Class("bad"), g.Text(note)) }),
			),
			h.Main(p.failures(), p.timeline(), p.phases(), p.machines(), p.steps()),
		),
	))
}

// section is a part of the page with a heading, or nothing where it would be empty.
func section(id, heading string, content ...g.Node) g.Node {
	return h.Section(h.Aria("labelledby", id), h.H2(h.ID(id), g.Text(heading)), g.Group(content))
}

func (p page) failures() g.Node {
	if len(p.Failures) == 0 {
		return nil
	}
	return section("failures", "Failures",
		g.Map(p.Failures, failureView.node),
		g.If(p.MoreFailures != "", h.P(g.Text(p.MoreFailures))),
	)
}

func (f failureView) node() g.Node {
	name := f.Name
	if f.Phase != "" {
		name += ": phase " + f.Phase
	}
	return h.Div(h.Class("failure"),
		h.H3(g.Text(name)),
		h.P(g.Text(f.Message)),
		g.If(len(f.Problems) > 0, h.Ul(g.Map(f.Problems, item))),
		g.If(f.Hint != "", h.P(g.Text("Next: "+f.Hint))),
		g.If(f.Command != "", g.Group{h.P(h.Class("soft"), g.Text("Command")), h.Pre(g.Text(f.Command))}),
		g.If(f.Tail != "", g.Group{h.P(h.Class("soft"), g.Text("Last lines")), h.Pre(g.Text(f.Tail))}),
	)
}

func item(one string) g.Node { return h.Li(g.Text(one)) }

func (p page) timeline() g.Node {
	if len(p.Rows) == 0 {
		return nil
	}
	rows := "rows"
	if p.Dense {
		rows += " dense"
	}
	return section("timeline", "Timeline",
		h.P(h.Class("soft"), g.Text(p.ChartNote)),
		h.Ul(h.Class("legend"), h.Aria("label", "Phases by colour"), g.Map(p.Legend, path.legend)),
		h.Div(h.Class("chart"),
			h.Div(h.Class("axis"), h.Aria("hidden", "true"),
				g.Map(p.Ticks, func(tick string) g.Node { return h.Span(g.Text(tick)) })),
			h.Div(h.Class(rows),
				h.Ol(h.Aria("hidden", "true"), g.Map(p.Rows, row.label)),
				h.SVG(h.Role("img"), h.Aria("label", p.Alternative),
					g.Attr("viewBox", fmt.Sprintf("0 0 %d %d", p.Width, p.Height)), h.Height(strconv.Itoa(p.Height)),
					g.Attr("preserveAspectRatio", "none"),
					g.Map(p.Paths, path.bars),
				),
			),
		),
	)
}

func (r row) label() g.Node {
	if r.Failed {
		return h.Li(h.Class("bad"), g.Text("✕ "+r.Name))
	}
	return h.Li(g.Text(r.Name))
}

// bars are those of one phase in all rows, named for a mouse that rests on them.
func (p path) bars() g.Node {
	return g.El("path", h.Class(p.Class), g.Attr("d", p.Data), g.El("title", g.Text(p.Name)))
}

func (p path) legend() g.Node {
	return h.Li(
		h.SVG(g.Attr("viewBox", "0 0 1 1"), h.Aria("hidden", "true"),
			g.El("path", h.Class(p.Class), g.Attr("d", "M0 0h1v1H0z"))),
		g.Text(p.Name),
	)
}

// column is one of a table; figures stand at the right.
type column struct {
	name   string
	figure bool
}

func text(name string) column   { return column{name: name} }
func figure(name string) column { return column{name: name, figure: true} }

// cell is a text in a table.
type cell struct {
	text string
	bad  bool
}

// table has a heading for each row, and names the columns beside the cells for screens where they stand below each
// other.
func table(caption string, columns []column, rows [][]cell) g.Node {
	return h.Table(
		h.Caption(g.Text(caption)),
		h.THead(h.Tr(g.Map(columns, func(c column) g.Node {
			return h.Th(h.Scope("col"), g.If(c.figure, h.Class("number")), g.Text(c.name))
		}))),
		h.TBody(g.Map(rows, func(cells []cell) g.Node {
			line := g.Group{h.Th(h.Scope("row"), g.Text(cells[0].text))}
			for i, c := range cells[1:] {
				of := columns[i+1]
				line = append(line, h.Td(g.If(of.figure, h.Class("number")), g.If(c.bad, h.Class("bad")),
					h.Data("label", of.name), g.Text(c.text)))
			}
			return h.Tr(line)
		})),
	)
}

func (p page) phases() g.Node {
	if len(p.Phases) == 0 {
		return nil
	}
	var rows [][]cell
	for _, phase := range p.Phases {
		rows = append(rows, []cell{
			{text: phase.Name},
			{text: strconv.Itoa(phase.Machines)},
			{text: phase.Median},
			{text: phase.Longest},
			{text: phase.Slowest},
		})
	}
	return section("phases", "Phases", table("How long each phase took, in the order in which they first ran.",
		[]column{
			text("Phase"), figure("Machines"), figure("Median"), figure("Longest"), text("Slowest machine"),
		}, rows))
}

func (p page) machines() g.Node {
	if len(p.Machines) == 0 {
		return nil
	}
	var rows [][]cell
	for _, m := range p.Machines {
		rows = append(rows, []cell{
			{text: m.Name},
			{text: m.Result, bad: m.Failed},
			{text: m.Version},
			{text: m.Took},
			{text: m.Changes},
			{text: m.Phases},
		})
	}
	return section("machines", "Machines", table("What changed on each machine; those that failed first.",
		[]column{
			text("Machine"), text("Result"), text("Version"), figure("Took"), text("Changes"), text("Longest phases"),
		}, rows))
}

func (p page) steps() g.Node {
	if len(p.Steps) == 0 {
		return nil
	}
	var rows [][]cell
	for _, s := range p.Steps {
		rows = append(rows, []cell{
			{text: s.Name}, {text: s.Result, bad: s.Failed}, {text: s.Began}, {text: s.Took}, {text: s.Message},
		})
	}
	return section("steps", "Steps on the cluster", table("In the order in which they began.",
		[]column{text("Step"), text("Result"), figure("Began after"), figure("Took"), text("Message")}, rows))
}
